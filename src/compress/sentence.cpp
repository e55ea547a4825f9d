#include "compress/sentence.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <utility>

#include "format/json.h"

namespace lamina::compress {

namespace fs = std::filesystem;
using core::Result;
using nlohmann::json;

namespace {

struct Mode {
  std::string_view name;  ///< of "pooling_mode"
  const char* flag;       ///< as older files have it
  uint32_t type;
};
constexpr std::array kModes{Mode{"mean", "pooling_mode_mean_tokens", 1}, Mode{"cls", "pooling_mode_cls_token", 2},
                            Mode{"lasttoken", "pooling_mode_lasttoken", 3}};

Result<json> read_object(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return json::object();
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return format::parse_json(text, path.string());
}

std::string text_of(const json& object, const char* key) {
  const json value = object.is_object() ? object.value(key, json()) : json();
  return value.is_string() ? value.get<std::string>() : std::string();
}

/// The mode's number where it is the only one; 0 else.
uint32_t type_of(const json& config) {
  if (const std::string named = text_of(config, "pooling_mode"); !named.empty()) {
    const auto* found = std::ranges::find(kModes, named, &Mode::name);
    return found == kModes.end() ? 0 : found->type;
  }
  uint32_t type = 0;
  size_t on = 0;
  for (const auto& [key, value] : config.items()) {
    if (!key.starts_with("pooling_mode_") || value != json(true)) continue;
    const auto* found = std::ranges::find_if(kModes, [&](const Mode& mode) { return key == mode.flag; });
    type = found == kModes.end() ? 0 : found->type;
    ++on;
  }
  return on == 1 ? type : 0;
}

}  // namespace

Result<std::optional<uint32_t>> pooling_of_folder(const fs::path& folder, std::vector<std::string>& notes) {
  LAMINA_ASSIGN(const json modules, read_object(folder / "modules.json"));
  LAMINA_ASSIGN(const json prompts, read_object(folder / "config_sentence_transformers.json"));
  if (prompts.is_object() && prompts.contains("prompts") && !prompts["prompts"].empty())
    notes.emplace_back("prompts (config_sentence_transformers.json) have no place in a GGUF file");
  std::optional<uint32_t> found;
  if (!modules.is_array()) return found;
  for (const json& module : modules) {
    std::string type = text_of(module, "type");
    type.erase(0, type.rfind('.') + 1);
    if (type == "Dense") notes.emplace_back("the Dense module after the pooling has no place in a GGUF file");
    if (type != "Pooling") continue;
    LAMINA_ASSIGN(const json config, read_object(folder / text_of(module, "path") / "config.json"));
    if (const uint32_t number = type_of(config); number != 0) {
      found = number;
    } else {
      notes.emplace_back("the pooling is neither mean, cls nor lasttoken, and so has no place in a GGUF file");
    }
  }
  return found;
}

std::vector<SideFile> pooling_files(int64_t type) {
  const auto* mode = std::ranges::find_if(kModes, [&](const Mode& one) { return type == int64_t{one.type}; });
  if (mode == kModes.end()) return {};
  json modules = json::array();
  const std::pair<const char*, const char*> all[] = {
      {"Transformer", ""}, {"Pooling", "1_Pooling"}, {"Normalize", "2_Normalize"}};
  for (const auto& [name, path] : all) {
    const auto index = static_cast<int>(modules.size());
    modules.push_back({{"idx", index},
                       {"name", std::to_string(index)},
                       {"path", path},
                       {"type", std::string("sentence_transformers.models.") + name}});
  }
  json config = {{"pooling_mode", mode->name}};
  for (const Mode& one : kModes) config[one.flag] = &one == mode;
  return {{"modules.json", modules.dump(2) + "\n"}, {"1_Pooling/config.json", config.dump(2) + "\n"}};
}

}  // namespace lamina::compress

#include "models/architecture.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "models/arch_files.h"
#include "models/expression.h"

namespace lamina::models {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using format::Container;
using nlohmann::json;

constexpr int64_t kMaxLayers = 4096;

std::string_view container_name(Container container) {
  return container == Container::kGguf ? "gguf" : "huggingface";
}

/// The file's text with its ancestors merged under it (JSON merge patch: a null removes).
json inherited(const std::map<std::string, json>& files, const std::string& name) {
  json data = files.at(name);
  if (!data.contains("inherits")) return data;
  json base = inherited(files, data["inherits"].get<std::string>());
  base.erase("abstract");
  base.merge_patch(data);
  return base;
}

std::vector<Architecture> parse_all() {
  std::map<std::string, json> files;
  for (const ArchFile& file : arch_files()) files[std::string(file.name)] = json::parse(file.text);
  std::vector<Architecture> all;
  for (const auto& [name, own] : files) {
    if (own.value("abstract", false)) continue;
    Architecture architecture{.name = name,
                              .summary = own.value("summary", ""),
                              .gguf = {},
                              .huggingface = {},
                              .data = inherited(files, name)};
    const json match = own.value("match", json::object());
    architecture.gguf = match.value("gguf", std::vector<std::string>());
    architecture.huggingface = match.value("huggingface", std::vector<std::string>());
    all.push_back(std::move(architecture));
  }
  return all;
}

/// The names that the model file gives itself, most telling first.
std::vector<std::string> names_of(const format::ModelFiles& files) {
  std::vector<std::string> names;
  const json& config = files.config();
  const auto add = [&](const char* key) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_string()) names.push_back(found->get<std::string>());
  };
  if (files.container() == Container::kGguf) {
    add("general.architecture");
  } else {
    const auto classes = config.find("architectures");
    if (classes != config.end() && classes->is_array()) {
      for (const json& name : *classes) {
        if (name.is_string()) names.push_back(name.get<std::string>());
      }
    }
    add("model_type");
  }
  return names;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// Evaluates settings and records of one model.
class Resolver {
 public:
  Resolver(const Architecture& architecture, const format::ModelFiles& files)
      : data_(architecture.data), files_(files), place_(files.path().string()) {
    if (files.container() == Container::kGguf) prefix_ = files.config().value("general.architecture", "");
  }

  Result<json> setting(const std::string& name) {
    if (name == "layer" && layer_ >= 0) return json(layer_);
    if (const auto found = values_.find(name); found != values_.end()) return at_layer(name, found->second);
    const auto definition = data_["settings"].find(name);
    if (definition == data_["settings"].end())
      return fail(ErrorCode::kInvalid, place_, "the architecture file has no setting \"{}\"", name);
    if (!pending_.insert(name).second)
      return fail(ErrorCode::kInvalid, place_, "setting \"{}\" refers to itself", name);
    auto value = define(name, *definition);
    pending_.erase(name);
    if (!value) return value;
    const bool keep = !definition->is_object() || !definition->value("per_layer", false);
    if (keep) values_[name] = *value;
    return at_layer(name, *value);
  }

  /// A copy of `node` in which expressions are evaluated and choices by container are made.
  Result<json> record(const json& node) {
    if (node.is_string()) return text(node.get_ref<const std::string&>());
    if (!node.is_object()) return node;
    if (is_choice(node)) {
      const auto chosen = node.find(container_name(files_.container()));
      return chosen == node.end() ? Result<json>(json()) : record(*chosen);
    }
    json out = json::object();
    for (const auto& [key, value] : node.items()) {
      if (key == "variants") continue;
      LAMINA_ASSIGN(out[key], record(value));
    }
    return out;
  }

  Result<json> layer_record(int64_t layer) {
    layer_ = layer;
    json node = data_["layer"];
    if (const auto variants = node.find("variants"); variants != node.end()) {
      const json list = std::move(*variants);
      node.erase("variants");
      for (const json& variant : list) {
        LAMINA_ASSIGN(const json applies, record(variant.at("when")));
        if (applies.is_boolean() ? applies.get<bool>() : !applies.is_null() && applies != 0.0)
          node.merge_patch(variant.at("set"));
      }
    }
    auto out = record(node);
    layer_ = -1;
    return out;
  }

 private:
  static bool is_choice(const json& node) {
    return !node.empty() && std::ranges::all_of(node.items(), [](const auto& item) {
      return item.key() == "gguf" || item.key() == "huggingface";
    });
  }

  Result<json> text(std::string value) {
    if (value.starts_with("=")) {
      auto result =
          evaluate(std::string_view(value).substr(1), [this](const std::string& name) { return setting(name); });
      if (!result) return fail(ErrorCode::kCorrupt, place_, "{}", result.error().text());
      return result;
    }
    replace_all(value, "{layer}", std::to_string(layer_));
    return json(std::move(value));
  }

  /// A setting's value: whether the file has its "present" tensor, or the first of its keys that the configuration has,
  /// else its default.
  Result<json> define(const std::string& name, const json& definition) {
    if (!definition.is_object()) return record(definition);
    if (const auto present = definition.find("present"); present != definition.end()) {
      LAMINA_ASSIGN(const json tensor, record(*present));
      return json(tensor.is_string() && files_.find(tensor.get<std::string>()) != nullptr);
    }
    std::string wanted;
    if (const auto keys = definition.find(container_name(files_.container())); keys != definition.end()) {
      for (const json& key : keys->is_array() ? *keys : json::array({*keys})) {
        std::string path = key.get<std::string>();
        replace_all(path, "{arch}", prefix_);
        if (auto value = look_up(path)) return *value;
        wanted += (wanted.empty() ? "" : " or ") + path;
      }
    }
    if (const auto fallback = definition.find("default"); fallback != definition.end()) return record(*fallback);
    return fail(ErrorCode::kCorrupt, place_, "the configuration lacks {} ({})", wanted.empty() ? name : wanted, name);
  }

  std::optional<json> look_up(const std::string& path) const {
    const json& config = files_.config();
    if (const auto found = config.find(path); found != config.end() && !found->is_null()) return *found;
    if (files_.container() == Container::kGguf) return std::nullopt;
    const json* node = &config;
    for (size_t begin = 0; begin <= path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      const auto found = node->is_object() ? node->find(path.substr(begin, end - begin)) : node->end();
      if (!node->is_object() || found == node->end() || found->is_null()) return std::nullopt;
      node = &*found;
      begin = end + 1;
    }
    return *node;
  }

  static bool is_list(const json& definition) { return definition.is_object() && definition.value("list", false); }

  /// Lists in the configuration hold one value per layer, unless the setting says that it is a list.
  Result<json> at_layer(const std::string& name, const json& value) const {
    if (!value.is_array() || layer_ < 0 || is_list(data_["settings"][name])) return value;
    if (static_cast<size_t>(layer_) >= value.size()) {
      return fail(ErrorCode::kCorrupt, place_, "{} has {} values, layer {} needs one too", name, value.size(), layer_);
    }
    return value[static_cast<size_t>(layer_)];
  }

  const json& data_;
  const format::ModelFiles& files_;
  std::string place_;
  std::string prefix_;
  int64_t layer_ = -1;
  std::map<std::string, json> values_;
  std::set<std::string> pending_;
};

}  // namespace

std::span<const Architecture> architectures() {
  static const std::vector<Architecture> all = parse_all();
  return all;
}

Result<const Architecture*> find_architecture(const format::ModelFiles& files) {
  const auto names = names_of(files);
  for (const std::string& name : names) {
    for (const Architecture& architecture : architectures()) {
      const auto& known = files.container() == Container::kGguf ? architecture.gguf : architecture.huggingface;
      if (std::ranges::find(known, name) != known.end()) return &architecture;
    }
  }
  std::string known;
  for (const Architecture& architecture : architectures()) known += (known.empty() ? "" : ", ") + architecture.name;
  if (names.empty())
    return fail(ErrorCode::kCorrupt, files.path().string(), "names no architecture; one of {} expected", known);
  return fail(ErrorCode::kUnsupported, files.path().string(), "architecture \"{}\" is unknown; one of {} expected",
              names.front(), known);
}

Result<ResolvedModel> resolve(const Architecture& architecture, const format::ModelFiles& files) {
  Resolver resolver(architecture, files);
  ResolvedModel model{
      .architecture = &architecture, .settings = json::object(), .embedding = {}, .layers = {}, .heads = {}};
  for (const auto& [name, definition] : architecture.data["settings"].items()) {
    if (definition.is_object() && definition.value("per_layer", false)) continue;
    LAMINA_ASSIGN(json value, resolver.setting(name));
    if (!value.is_array()) model.settings[name] = std::move(value);
  }
  const json& layers = model.settings["layers"];
  if (!layers.is_number() || layers.get<double>() < 1 || layers.get<double>() > kMaxLayers) {
    return fail(ErrorCode::kCorrupt, files.path().string(), "{} layers; 1 to {} expected", layers.dump(), kMaxLayers);
  }
  LAMINA_ASSIGN(model.embedding, resolver.record(architecture.data["embedding"]));
  const json& heads = architecture.data["head"];
  for (const json& head : heads.is_array() ? heads : json::array({heads})) {
    LAMINA_ASSIGN(json record, resolver.record(head));
    model.heads.push_back(std::move(record));
  }
  LAMINA_ASSIGN(const json repeat, resolver.record(architecture.data.value("repeat", json(1))));
  if (!repeat.is_number() || repeat.get<double>() < 1 || repeat.get<double>() > kMaxLayers ||
      repeat.get<double>() != std::floor(repeat.get<double>())) {
    return fail(ErrorCode::kUnsupported, files.path().string(),
                "each layer would run {} times; a whole number from 1 to {} expected", repeat.dump(), kMaxLayers);
  }
  model.repeat = static_cast<int64_t>(repeat.get<double>());
  for (int64_t i = 0; i < static_cast<int64_t>(layers.get<double>()); ++i) {
    LAMINA_ASSIGN(json record, resolver.layer_record(i));
    model.layers.push_back(std::move(record));
  }
  return model;
}

}  // namespace lamina::models

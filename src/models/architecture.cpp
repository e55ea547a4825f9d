#include "models/architecture.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "models/arch_files.h"
#include "models/resolver.h"

namespace lamina::models {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using format::Container;
using nlohmann::json;

constexpr int64_t kMaxLayers = 4096;

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
                              .data = inherited(files, name),
                              .write = own.value("write", json::object())};
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

core::Status check_structure(const Structure& structure, int layers, const std::string& place) {
  if (!structure.numbers.empty() && std::ssize(structure.numbers) != layers) {
    return fail(ErrorCode::kCorrupt, place, "numbers of {} layers; those of {} expected", structure.numbers.size(),
                layers);
  }
  for (const auto& [role, without] : structure.without) {
    if (without.empty() || *without.rbegin() < layers) continue;
    return fail(ErrorCode::kCorrupt, place, "layer {} is to have no {}; the model has {} layers", *without.rbegin(),
                role, layers);
  }
  for (const auto& [role, shares] : structure.shares) {
    if (std::ssize(shares) != layers)
      return fail(ErrorCode::kCorrupt, place, "{} of {} layers are shared; {} layers expected", role, shares.size(),
                  layers);
    for (int i = 0; i < layers; ++i) {
      const int base = shares[static_cast<size_t>(i)];
      if (base <= i && shares[static_cast<size_t>(base)] == base && !structure.lacks(role, base)) continue;
      return fail(ErrorCode::kCorrupt, place,
                  "layer {} is to use the {} of layer {}; one before it with its own expected", i, role, base);
    }
  }
  return {};
}

/// Gives matrices the names of another layer's; norms have a kind, matrices none.
void share_names(const json& from, json& to) {
  if (!from.is_object() || !to.is_object()) return;
  for (auto& [key, value] : to.items()) {
    if (const auto other = from.find(key); other != from.end() && key != "otherwise") share_names(*other, value);
  }
  const json name = to.value("weight", json());
  const json other = from.value("weight", json());
  if (to.contains("kind") || !name.is_string() || !other.is_string() || name == other) return;
  to["factors"] = name;
  to["weight"] = other;
}

void share_matrices(const Structure& structure, int layer, const std::vector<json>& before, json& record) {
  for (const auto& [role, shares] : structure.shares) {
    const auto base = static_cast<size_t>(shares[static_cast<size_t>(layer)]);
    if (base >= before.size() || !record.contains(role)) continue;
    // The part itself has a kind; what it is made of counts.
    for (auto& [key, value] : record[role].items()) {
      const json other = before[base].value(role, json::object());
      if (value.is_object() && other.contains(key)) share_names(other[key], value);
    }
  }
}

/// Takes the parts out of the layer's record that the model says it lacks.
void leave_out(const Structure& structure, int layer, json& record) {
  for (const auto& [role, without] : structure.without) {
    if (!without.contains(layer)) continue;
    record.erase(role);
    json order = json::array();
    for (const json& part : record.value("order", json::array())) {
      if (part != role) order.push_back(part);
    }
    record["order"] = std::move(order);
  }
}

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
  return resolve(architecture, {files.container(), files.config(), files.path().string(),
                                [&files](const std::string& name) { return files.find(name) != nullptr; }});
}

Result<ResolvedModel> resolve(const Architecture& architecture, const ConfigSource& source) {
  Resolver resolver(architecture, source);
  ResolvedModel model{
      .architecture = &architecture, .settings = json::object(), .embedding = {}, .layers = {}, .heads = {}};
  for (const auto& [name, definition] : architecture.data["settings"].items()) {
    if (definition.is_object() && definition.value("per_layer", false)) continue;
    LAMINA_ASSIGN(json value, resolver.setting(name));
    if (!value.is_array()) model.settings[name] = std::move(value);
  }
  const json& layers = model.settings["layers"];
  if (!layers.is_number() || layers.get<double>() < 1 || layers.get<double>() > kMaxLayers) {
    return fail(ErrorCode::kCorrupt, source.place, "{} layers; 1 to {} expected", layers.dump(), kMaxLayers);
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
    return fail(ErrorCode::kUnsupported, source.place,
                "each layer would run {} times; a whole number from 1 to {} expected", repeat.dump(), kMaxLayers);
  }
  model.repeat = static_cast<int64_t>(repeat.get<double>());
  const auto count = static_cast<int>(layers.get<double>());
  LAMINA_ASSIGN(model.structure, read_structure(source.container, source.config, source.place));
  LAMINA_CHECK_OK(check_structure(model.structure, count, source.place));
  for (int i = 0; i < count; ++i) {
    LAMINA_ASSIGN(json record, resolver.layer_record(i));
    leave_out(model.structure, i, record);
    share_matrices(model.structure, i, model.layers, record);
    model.layers.push_back(std::move(record));
  }
  return model;
}

}  // namespace lamina::models

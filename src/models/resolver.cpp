#include "models/resolver.h"

#include <algorithm>

#include "models/expression.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;
using format::Container;
using nlohmann::json;

namespace {

bool is_choice(const json& node) {
  return !node.empty() && std::ranges::all_of(node.items(), [](const auto& item) {
    return item.key() == "gguf" || item.key() == "huggingface";
  });
}

bool is_list(const json& definition) {
  return definition.is_object() && definition.value("list", false);
}

}  // namespace

std::string_view container_name(Container container) {
  return container == Container::kGguf ? "gguf" : "huggingface";
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

Resolver::Resolver(const Architecture& architecture, const ConfigSource& source)
    : data_(architecture.data),
      config_(source.config),
      container_(source.container),
      place_(source.place),
      has_(source.has),
      values_(source.known) {
  if (container_ == Container::kGguf) prefix_ = config_.value("general.architecture", "");
  // What is wrong with it, resolve() says.
  if (auto structure = read_structure(container_, config_, place_)) numbers_ = std::move(structure->numbers);
}

Result<json> Resolver::setting(const std::string& name) {
  if (name == "layer" && layer_ >= 0) {
    const auto index = static_cast<size_t>(layer_);
    return index < numbers_.size() ? json(numbers_[index]) : json(layer_);
  }
  if (const auto found = values_.find(name); found != values_.end()) return at_layer(name, found->second);
  const auto definition = data_["settings"].find(name);
  if (definition == data_["settings"].end())
    return fail(ErrorCode::kInvalid, place_, "the architecture file has no setting \"{}\"", name);
  if (!pending_.insert(name).second) return fail(ErrorCode::kInvalid, place_, "setting \"{}\" refers to itself", name);
  auto value = define(name, *definition);
  pending_.erase(name);
  if (!value) return value;
  const bool keep = !definition->is_object() || !definition->value("per_layer", false);
  if (keep) values_[name] = *value;
  return at_layer(name, *value);
}

Result<json> Resolver::setting_at(const std::string& name, int64_t layer) {
  layer_ = layer;
  auto value = setting(name);
  layer_ = -1;
  return value;
}

Result<json> Resolver::record(const json& node) {
  if (node.is_string()) return text(node.get_ref<const std::string&>());
  if (!node.is_object()) return node;
  if (is_choice(node)) {
    const auto chosen = node.find(container_name(container_));
    return chosen == node.end() ? Result<json>(json()) : record(*chosen);
  }
  json out = json::object();
  for (const auto& [key, value] : node.items()) {
    if (key == "variants") continue;
    LAMINA_ASSIGN(out[key], record(value));
  }
  return out;
}

Result<json> Resolver::layer_record(int64_t layer) {
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

Result<json> Resolver::text(std::string value) {
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
Result<json> Resolver::define(const std::string& name, const json& definition) {
  if (!definition.is_object()) return record(definition);
  if (const auto present = definition.find("present"); present != definition.end()) {
    LAMINA_ASSIGN(const json tensor, record(*present));
    if (!has_)
      return fail(ErrorCode::kUnsupported, place_, "{} depends on the file's tensors, which are not there", name);
    return json(tensor.is_string() && has_(tensor.get<std::string>()));
  }
  std::string wanted;
  if (const auto keys = definition.find(container_name(container_)); keys != definition.end()) {
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

std::optional<json> Resolver::look_up(const std::string& path) const {
  if (const auto found = config_.find(path); found != config_.end() && !found->is_null()) return *found;
  if (container_ == Container::kGguf) return std::nullopt;
  const json* node = &config_;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const auto found = node->is_object() ? node->find(path.substr(begin, end - begin)) : node->end();
    if (!node->is_object() || found == node->end() || found->is_null()) return std::nullopt;
    node = &*found;
    begin = end + 1;
  }
  return *node;
}

/// Lists in the configuration hold one value per layer, unless the setting says that it is a list.
Result<json> Resolver::at_layer(const std::string& name, const json& value) const {
  if (!value.is_array() || layer_ < 0 || is_list(data_["settings"][name])) return value;
  if (static_cast<size_t>(layer_) >= value.size()) {
    return fail(ErrorCode::kCorrupt, place_, "{} has {} values, layer {} needs one too", name, value.size(), layer_);
  }
  return value[static_cast<size_t>(layer_)];
}

}  // namespace lamina::models

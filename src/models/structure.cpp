#include "models/structure.h"

#include <array>

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;
using format::Container;
using nlohmann::json;

namespace {

constexpr const char* kNumbers = "lamina.layers";
constexpr std::array kRoles{"attn", "mixer", "cross", "mlp"};
constexpr int64_t kMaxNumber = 65535;

std::string key_without(const std::string& role) {
  return "lamina.without." + role;
}

std::string key_shares(const std::string& role) {
  return "lamina.shares." + role;
}

Result<std::vector<int>> layers_of(const json& value, const std::string& key, const std::string& place) {
  std::vector<int> out;
  for (const json& item : value.is_array() ? value : json::array({value})) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > kMaxNumber)
      return fail(ErrorCode::kCorrupt, place, "{} holds {}; numbers of layers expected", key, item.dump());
    out.push_back(item.get<int>());
  }
  return out;
}

}  // namespace

json config_value(const json& config, Container container, const std::string& key) {
  if (container == Container::kGguf) return config.value(key, json());
  const json* node = &config;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    if (!node->is_object()) return {};
    const auto found = node->find(key.substr(begin, end - begin));
    if (found == node->end()) return {};
    node = &*found;
    begin = end + 1;
  }
  return *node;
}

void set_config_value(json& config, Container container, const std::string& key, json value) {
  json* node = &config;
  size_t begin = 0;
  for (size_t end = key.find('.'); container == Container::kHuggingFace && end != std::string::npos;
       end = key.find('.', begin)) {
    json& next = (*node)[key.substr(begin, end - begin)];
    if (!next.is_object()) next = json::object();
    node = &next;
    begin = end + 1;
  }
  if (value.is_null()) {
    node->erase(key.substr(begin));
  } else {
    (*node)[key.substr(begin)] = std::move(value);
  }
}

Result<Structure> read_structure(Container container, const json& config, const std::string& place) {
  Structure structure;
  if (const json numbers = config_value(config, container, kNumbers); !numbers.is_null()) {
    LAMINA_ASSIGN(structure.numbers, layers_of(numbers, kNumbers, place));
  }
  for (const char* role : kRoles) {
    const std::string key = key_without(role);
    const json value = config_value(config, container, key);
    if (value.is_null()) continue;
    LAMINA_ASSIGN(const std::vector<int> layers, layers_of(value, key, place));
    structure.without[role] = std::set(layers.begin(), layers.end());
  }
  for (const char* role : kRoles) {
    const json value = config_value(config, container, key_shares(role));
    if (value.is_null()) continue;
    LAMINA_ASSIGN(structure.shares[role], layers_of(value, key_shares(role), place));
  }
  return structure;
}

void write_structure(json& config, Container container, const Structure& structure) {
  const auto set = [&](const std::string& key, json value) {
    if (value.is_null() && config_value(config, container, key).is_null()) return;
    set_config_value(config, container, key, std::move(value));
  };
  set(kNumbers, structure.numbers.empty() ? json() : json(structure.numbers));
  for (const char* role : kRoles) {
    const auto found = structure.without.find(role);
    const bool none = found == structure.without.end() || found->second.empty();
    set(key_without(role), none ? json() : json(found->second));
    const auto shares = structure.shares.find(role);
    set(key_shares(role), shares == structure.shares.end() ? json() : json(shares->second));
  }
  if (container != Container::kHuggingFace || !config.contains("lamina")) return;
  json& own = config["lamina"];
  for (const char* part : {"without", "shares"}) {
    if (own.contains(part) && own[part].empty()) own.erase(part);
  }
  if (own.empty()) config.erase("lamina");
}

}  // namespace lamina::models

#include "compress/attention_free.h"

#include <algorithm>

namespace lamina::compress {

using format::Container;
using models::Structure;
using nlohmann::json;

namespace {

/// Whether a list of heads can say all that the keys of our own say.
bool suffices(const Structure& structure, const json& config, const std::string& prefix) {
  const auto found = structure.without.find("attn");
  const bool alone = structure.without.size() == 1 && structure.numbers.empty() && structure.shares.empty();
  return alone && found != structure.without.end() && !found->second.empty() && !found->second.contains(0) &&
         config.value(prefix + "expert_count", 0) == 0 &&
         config.value(prefix + "attention.head_count", json()).is_number();
}

json with_zeros(const json& value, const Structure& structure, int layers) {
  json list = json::array();
  for (int i = 0; i < layers; ++i) {
    const json own = value.is_array() ? value.at(static_cast<size_t>(i)) : value;
    list.push_back(structure.lacks("attn", i) ? json(0) : own);
  }
  return list;
}

}  // namespace

std::map<std::string, Reworded> attention_free_words(const models::Architecture& architecture, const json& config) {
  std::map<std::string, Reworded> out;
  const json name = architecture.write.value("gguf", json::object()).value("attention_free", json());
  const auto all = models::architectures();
  const auto family =
      std::ranges::find(all, name.is_string() ? name.get<std::string>() : "", &models::Architecture::name);
  const auto structure = models::read_structure(Container::kGguf, config, "");
  const std::string prefix = config.value("general.architecture", "") + ".";
  if (family == all.end() || family->gguf.empty() || !structure || !suffices(*structure, config, prefix)) return out;
  const std::string& own = family->gguf.front();
  for (const auto& [key, value] : config.items()) {
    if (!key.starts_with(prefix)) continue;
    out[key] = {.value = json(), .before = key};
    out[own + "." + key.substr(prefix.size())] = {.value = value, .before = key};
  }
  const int layers = config.value(prefix + "block_count", 0);
  const json heads = config[prefix + "attention.head_count"];
  const json size = config.value(prefix + "embedding_length", 0) / heads.get<int>();
  for (const char* key : {"attention.head_count", "attention.head_count_kv"})
    out[own + "." + key].value = with_zeros(config.value(prefix + key, heads), *structure, layers);
  for (const char* key : {"attention.key_length", "attention.value_length", "rope.dimension_count"})
    out[own + "." + key].value = config.value(prefix + key, size);
  out["general.architecture"].value = own;
  out["lamina.without.attn"].value = json();
  return out;
}

}  // namespace lamina::compress

#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/result.h"
#include "format/model_files.h"

namespace lamina::models {

/// What a model says of its layers where layers or parts of them were taken out of the model that it was made of, and
/// the words of its family do not suffice: keys of our own, beside the family's.
struct Structure {
  /// For each layer the number that the family's rules know it by ("every sixth layer sees all"); empty: its index.
  std::vector<int> numbers{};
  /// Layers that lack a part, by the part's role.
  std::map<std::string, std::set<int>> without{};

  /// By a part's role, for each layer the one whose matrices it uses, its own or one before it. Norms and biases are
  /// each layer's own, and so are factors that are added (layers/linear.h).
  std::map<std::string, std::vector<int>> shares{};

  bool empty() const { return numbers.empty() && without.empty() && shares.empty(); }
  bool lacks(const std::string& role, int layer) const {
    const auto found = without.find(role);
    return found != without.end() && found->second.contains(layer);
  }
};

/// The keys "lamina.layers", "lamina.without.<role>" and "lamina.shares.<role>", flat in GGUF metadata, objects in
/// config.json. kCorrupt: what is not a list of layers.
core::Result<Structure> read_structure(format::Container container, const nlohmann::json& config,
                                       const std::string& place);
/// Sets them, and removes those of what is empty.
void write_structure(nlohmann::json& config, format::Container container, const Structure& structure);

/// What stands under a key, whose dots go into objects in config.json; null where nothing does.
nlohmann::json config_value(const nlohmann::json& config, format::Container container, const std::string& key);
/// Sets it; a null removes the key.
void set_config_value(nlohmann::json& config, format::Container container, const std::string& key,
                      nlohmann::json value);

}  // namespace lamina::models

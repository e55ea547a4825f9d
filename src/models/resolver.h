#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "models/architecture.h"

namespace lamina::models {

/// "gguf" or "huggingface": how architecture files call a container.
std::string_view container_name(format::Container container);

/// Replaces every `from` in `text`.
void replace_all(std::string& text, std::string_view from, std::string_view to);

/// Evaluates settings and records of one model. Both arguments must outlive it.
class Resolver {
 public:
  Resolver(const Architecture& architecture, const ConfigSource& source);

  /// The value of a setting; one per layer when a layer is set and the configuration has a list.
  core::Result<nlohmann::json> setting(const std::string& name);
  /// The same with `layer` as the current one.
  core::Result<nlohmann::json> setting_at(const std::string& name, int64_t layer);
  /// A copy of `node` in which expressions are evaluated and choices by container are made.
  core::Result<nlohmann::json> record(const nlohmann::json& node);
  core::Result<nlohmann::json> layer_record(int64_t layer);
  bool has_setting(const std::string& name) const { return data_["settings"].contains(name); }

 private:
  core::Result<nlohmann::json> text(std::string value);
  core::Result<nlohmann::json> define(const std::string& name, const nlohmann::json& definition);
  std::optional<nlohmann::json> look_up(const std::string& path) const;
  core::Result<nlohmann::json> at_layer(const std::string& name, const nlohmann::json& value) const;

  const nlohmann::json& data_;
  const nlohmann::json& config_;
  format::Container container_;
  std::string place_;
  std::function<bool(const std::string&)> has_;
  std::string prefix_;
  int64_t layer_ = -1;
  std::vector<int> numbers_;  ///< by which expressions know the layers; names of tensors and lists go by the index
  std::map<std::string, nlohmann::json> values_;
  std::set<std::string> pending_;
};

}  // namespace lamina::models

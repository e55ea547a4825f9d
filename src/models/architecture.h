#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "format/model_files.h"
#include "models/structure.h"

namespace lamina::models {

/// One model family, read from arch/<name>.json with everything that it inherits merged in.
struct Architecture {
  std::string name;
  std::string summary;
  std::vector<std::string> gguf;         ///< values of general.architecture
  std::vector<std::string> huggingface;  ///< class names in config.json's "architectures"
  nlohmann::json data;
  nlohmann::json write;  ///< what writing a model of this family needs besides its settings; never inherited
};

/// All families, by name. Parsed once; the files are part of the binary.
std::span<const Architecture> architectures();

/// The family that the file names, or an error that lists the known ones.
core::Result<const Architecture*> find_architecture(const format::ModelFiles& files);

/// A family applied to one model's configuration: every expression evaluated, every name chosen for the container.
struct ResolvedModel {
  const Architecture* architecture = nullptr;
  nlohmann::json settings;             ///< those that have one value for all layers
  nlohmann::json embedding;            ///< record of the embedding
  std::vector<nlohmann::json> layers;  ///< one record per layer
  std::vector<nlohmann::json>
      heads;           ///< records of the final norm and the head, the first whose "present" tensor is there counts
  int64_t repeat = 1;  ///< how many times in a row the route visits each layer
  Structure structure{};
};

/// A configuration to evaluate a family on: config.json, or GGUF metadata as one flat object.
struct ConfigSource {
  format::Container container;
  const nlohmann::json& config;
  std::string place;                                   ///< starts every message
  std::function<bool(const std::string& name)> has{};  ///< whether the file has that tensor; empty: it is not known
  std::map<std::string, nlohmann::json> known{};       ///< settings whose values are not in the configuration
};

/// Evaluates `architecture` on the configuration of `files`.
/// Errors name the setting, the key looked for, and what was found.
core::Result<ResolvedModel> resolve(const Architecture& architecture, const format::ModelFiles& files);
core::Result<ResolvedModel> resolve(const Architecture& architecture, const ConfigSource& source);

}  // namespace lamina::models

#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "core/result.h"
#include "format/model_files.h"
#include "models/architecture.h"

namespace lamina::models {

/// A model's configuration in the words of another container, and the family's records on it.
struct Translation {
  const Architecture* family = nullptr;  ///< the family that the target names; often the source's own
  nlohmann::json config;                 ///< config.json, or GGUF metadata as one flat object
  std::set<std::string> real_keys;       ///< GGUF keys whose numbers are float32 whatever their value
  ResolvedModel resolved;                ///< of `family` on `config`
};

/// What the configuration cannot say and the tensors do.
struct TensorFacts {
  bool tied = false;  ///< the head is the embedding's table
  int64_t vocabulary = 0;
};

/// Writes the settings of `files`, a model of `architecture`, under the keys of `target`, which must not be the
/// container of `files`; then evaluates the target's family on what was written and compares. kUnsupported when the
/// family cannot be written there, or when a layer would mean something else (the message names layer, field, both
/// values).
core::Result<Translation> translate(const Architecture& architecture, const format::ModelFiles& files,
                                    format::Container target, const TensorFacts& facts);

}  // namespace lamina::models

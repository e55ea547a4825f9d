#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

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
  std::optional<size_t> head;            ///< which of its heads is the source's; none: the source has none
  std::optional<ResolvedModel> encoder;  ///< of an encoder-decoder
  std::set<std::string> said;            ///< tensors of the source whose numbers the configuration now says
  std::vector<std::string> notes;        ///< what a user should know
};

/// What the configuration cannot say and the tensors do.
struct TensorFacts {
  bool tied = false;  ///< the head is the embedding's table
  int64_t vocabulary = 0;
  std::optional<size_t> head{};  ///< which of the family's heads the file has
};

/// Writes the settings of `files`, a model of `architecture`, under the keys of `target`, which must not be the
/// container of `files`; then evaluates the target's family on what was written and compares. kUnsupported when the
/// family cannot be written there, or when a layer would mean something else (the message names layer, field, both
/// values).
core::Result<Translation> translate(const Architecture& architecture, const format::ModelFiles& files,
                                    format::Container target, const TensorFacts& facts);

}  // namespace lamina::models

#pragma once

#include <span>
#include <vector>

#include "embed/batches.h"
#include "embed/settings.h"

namespace lamina::embed {

/// How texts become vectors; from Settings, and what a caller wants otherwise.
struct EmbedOptions {
  Pooling pooling = Pooling::kMean;
  bool normalize = true;
  int64_t dimensions = 0;  ///< the first so many numbers of each vector; 0: all
  int64_t skipped = 0;     ///< rows of a prompt that pooling leaves out
};

/// Numbers of a vector before it is cut.
int64_t embedding_size(const models::Model& model, const Settings& settings);

/// A vector for each input, in the order of the inputs: the finished stream pooled, put through the model's dense
/// layers, cut, normalized. A vector's bits depend on its own input alone. Uses the runner's hook. Errors as
/// run_inputs(); kInvalid: more dimensions than there are; kCorrupt: dense layers that do not fit.
core::Result<std::vector<std::vector<float>>> embed(run::Runner& runner, const Settings& settings,
                                                    const EmbedOptions& options, std::span<const Input> inputs);

}  // namespace lamina::embed

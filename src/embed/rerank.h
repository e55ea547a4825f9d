#pragma once

#include <span>
#include <vector>

#include "embed/batches.h"

namespace lamina::embed {

/// The score of each input (a query and a document as one pair), in the order of the inputs: the logit of a
/// sequence-classification head with one label. kUnsupported: a model without such a head. Else as run_inputs().
core::Result<std::vector<float>> rerank(run::Runner& runner, std::span<const Input> inputs);

}  // namespace lamina::embed

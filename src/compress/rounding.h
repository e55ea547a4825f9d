#pragma once

#include <span>

#include "compress/importance.h"
#include "compress/output_tensor.h"
#include "core/result.h"
#include "recipe/recipe.h"

namespace lamina::compress {

/// Sets OutputTensor::gptq as the recipe asks, for a model of that many layers. kInvalid, at the recipe's character:
/// statistics without Gram matrices, or no other format to round into; what a tensor cannot have is said in its note.
core::Status choose_rounding(const recipe::Recipe& recipe, int layers, const Importance& importance,
                             std::span<OutputTensor> tensors);

}  // namespace lamina::compress

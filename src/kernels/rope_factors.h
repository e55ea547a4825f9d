#pragma once

#include <vector>

#include "core/result.h"
#include "kernels/rope.h"

namespace lamina::kernels {

/// The divisors of the inverse frequencies that llama3 scaling stands for, as float32: what GGUF files keep in a
/// tensor, and what rope_frequencies() divides by. kInvalid for impossible numbers.
core::Result<std::vector<float>> llama3_factors(const RopeOptions& options);

}  // namespace lamina::kernels

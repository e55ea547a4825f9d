#pragma once

#include <optional>
#include <span>

#include "kernels/rope.h"

namespace lamina::models {

/// The llama3 scaling whose divisors these are, or nothing when they follow no such rule. `base` is the rotary base;
/// the low frequency factor is 1, as only ratios can be told apart. Of several rules the one with equal bits.
std::optional<kernels::RopeOptions> find_llama3(std::span<const float> factors, double base);

}  // namespace lamina::models

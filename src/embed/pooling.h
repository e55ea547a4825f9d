#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lamina::embed {

/// How the rows of a text become one vector.
enum class Pooling { kCls, kMean, kMeanSqrt, kMax, kLast, kWeightedMean };

/// The pooling of that name: cls, mean, mean_sqrt_len, max, last or weighted_mean; kInvalid lists them.
core::Result<Pooling> find_pooling(std::string_view name);

/// One vector [hidden] of the rows [rows, hidden] of a text, rows >= 1. The first `skipped` rows (of a prompt) do not
/// count unless none is left. Sums run in double precision, rows ascending. weighted_mean weighs row i with i + 1
/// (Muennighoff 2022).
void pool(Pooling pooling, const float* rows, int64_t count, int64_t hidden, int64_t skipped, float* out);

/// Scales the vector to length 1; a zero vector stays.
void normalize(std::span<float> vector);

}  // namespace lamina::embed

#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"

namespace lamina::kernels {

/// One row: out[i] = (x[i] / sqrt(mean(x^2) + epsilon)) * (weight[i] + weight_offset). A null weight counts as 1.
/// weight_offset is 0, or 1 for weights stored as a difference from one. `out` may be `x`. Zhang and Sennrich 2019.
void rms_norm(const float* x, const float* weight, float* out, int64_t size, float epsilon, float weight_offset);

/// One row: out[i] = (x[i] - mean) / sqrt(variance + epsilon) * weight[i] + bias[i]; weight and bias may each be null.
/// The variance is that of the row (divided by size). `out` may be `x`. Ba et al. 2016.
void layer_norm(const float* x, const float* weight, const float* bias, float* out, int64_t size, float epsilon);

/// A row of the table of norm kernels. All rows give the same bits: sums run in 16 lanes (index mod 16) that are then
/// folded 8-4-2-1.
struct NormVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::rms_norm) rms_norm = nullptr;
  decltype(&kernels::layer_norm) layer_norm = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const NormVariant* const> norm_variants();

namespace ref {
extern const NormVariant kNorm;
}
namespace cpu {
extern const NormVariant kNormAvx2;
extern const NormVariant kNormAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"

namespace lamina::kernels {

/// out[i] = exp(x[i] - max) / sum. `out` may be `x`. Sums run over 512 numbers in 16 lanes (index mod 16), folded
/// 8-4-2-1, and those sums are added in double precision, ascending.
void softmax(const float* x, int64_t size, float* out);
/// ln(sum(exp(x[i]))), summed likewise.
double log_sum_exp(const float* x, int64_t size);
/// Index of the largest number, the lowest index on ties; NaN never wins. size >= 1; 0 if all are NaN.
int64_t argmax(const float* x, int64_t size);

/// A row of the table of these kernels. All rows give the same bits.
struct SoftmaxVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::softmax) softmax = nullptr;
  decltype(&kernels::log_sum_exp) log_sum_exp = nullptr;
  decltype(&kernels::argmax) argmax = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const SoftmaxVariant* const> softmax_variants();

namespace ref {
extern const SoftmaxVariant kSoftmax;
}
namespace cpu {
extern const SoftmaxVariant kSoftmaxAvx2;
extern const SoftmaxVariant kSoftmaxAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

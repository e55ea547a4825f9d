#include "kernels/norm.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const NormVariant* const> norm_variants() {
  static constexpr std::array kRows{&ref::kNorm, LAMINA_X86_ROWS(&cpu::kNormAvx2, &cpu::kNormAvx512)};
  return kRows;
}

namespace {

const NormVariant& chosen() {
  static const NormVariant& row = strongest_row(norm_variants());
  return row;
}

}  // namespace

void rms_norm(const float* x, const float* weight, float* out, int64_t size, float epsilon, float weight_offset) {
  chosen().rms_norm(x, weight, out, size, epsilon, weight_offset);
}

void layer_norm(const float* x, const float* weight, const float* bias, float* out, int64_t size, float epsilon) {
  chosen().layer_norm(x, weight, bias, out, size, epsilon);
}

}  // namespace lamina::kernels

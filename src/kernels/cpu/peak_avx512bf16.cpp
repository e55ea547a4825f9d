#include "kernels/cpu/peak_units_avx512.h"

namespace lamina::kernels::cpu {

namespace {

struct Avx512Bf16Unit : Avx512VnniUnit {
  static __m512bh splat_bf16() { return (__m512bh)_mm512_set1_epi16(0x3f80); }
  static Float dot_bf16(Float sum, __m512bh a, __m512bh b) { return _mm512_dpbf16_ps(sum, a, b); }
};

constexpr PeakVariant bf16_row() {
  PeakVariant row = peak_row<Avx512Bf16Unit>(core::Isa::kAvx512Bf16);
  row.multiply_bf16 = peak_bf16<Avx512Bf16Unit>;
  return row;
}

}  // namespace

const PeakVariant kPeakAvx512Bf16 = bf16_row();

}  // namespace lamina::kernels::cpu

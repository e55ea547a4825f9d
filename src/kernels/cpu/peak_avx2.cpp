#include <immintrin.h>

#include "kernels/cpu/peak_body.h"

namespace lamina::kernels::cpu {

namespace {

struct Avx2Unit {
  using Float = __m256;
  using Integer = __m256i;
  static constexpr int kChains = 12;

  static Float splat(float value) { return _mm256_set1_ps(value); }
  static Float fma(Float sum, Float a, Float b) { return _mm256_fmadd_ps(sum, a, b); }
  static Integer splat_int8(char value) { return _mm256_set1_epi8(value); }
  // As the kernels sum while no 16-bit sum can overflow; here it may wrap.
  static Integer dot(Integer sum, Integer a, Integer b) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b)); }
  static Integer load(const std::byte* data) { return _mm256_load_si256(reinterpret_cast<const Integer*>(data)); }
  static Integer add(Integer a, Integer b) { return _mm256_add_epi64(a, b); }
};

}  // namespace

const PeakVariant kPeakAvx2 = peak_row<Avx2Unit>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

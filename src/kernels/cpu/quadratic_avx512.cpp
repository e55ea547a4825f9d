#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/quadratic_body.h"

namespace lamina::kernels::cpu {
namespace {

struct Doubles {
  static constexpr int kRows = 8;
  struct V {
    __m512d low;
    __m512d high;
  };
  static V load(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
  /// The first n numbers, below 16, and zeros.
  static V load(const double* p, int64_t n) {
    const uint32_t mask = (1U << n) - 1U;
    return {_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p),
            _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask >> 8), p + 8)};
  }
  static V zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static V add(const V& a, const V& b) { return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)}; }
  static V mul(const V& a, const V& b) { return {_mm512_mul_pd(a.low, b.low), _mm512_mul_pd(a.high, b.high)}; }
  static double fold(const V& v) {
    const __m512d eight = _mm512_add_pd(v.low, v.high);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

}  // namespace

const QuadraticVariant kQuadraticAvx512{core::Isa::kAvx512, quadratic_rows<Doubles>};

}  // namespace lamina::kernels::cpu

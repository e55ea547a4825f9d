#include <immintrin.h>

#include "kernels/cpu/quadratic_body.h"

namespace lamina::kernels::cpu {
namespace {

struct Doubles {
  static constexpr int kRows = 2;
  struct V {
    __m256d part[4];
  };
  static V load(const double* p) {
    return {{_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8), _mm256_loadu_pd(p + 12)}};
  }
  /// The first n numbers, below 16, and zeros.
  static V load(const double* p, int64_t n) {
    V v = zero();
    for (int64_t k = 0; 4 * k < n; ++k) {
      const __m256i left = _mm256_set1_epi64x(n - 4 * k);
      v.part[k] = _mm256_maskload_pd(p + 4 * k, _mm256_cmpgt_epi64(left, _mm256_set_epi64x(3, 2, 1, 0)));
    }
    return v;
  }
  static V zero() {
    const __m256d none = _mm256_setzero_pd();
    return {{none, none, none, none}};
  }
  static V add(const V& a, const V& b) {
    return {{_mm256_add_pd(a.part[0], b.part[0]), _mm256_add_pd(a.part[1], b.part[1]),
             _mm256_add_pd(a.part[2], b.part[2]), _mm256_add_pd(a.part[3], b.part[3])}};
  }
  static V mul(const V& a, const V& b) {
    return {{_mm256_mul_pd(a.part[0], b.part[0]), _mm256_mul_pd(a.part[1], b.part[1]),
             _mm256_mul_pd(a.part[2], b.part[2]), _mm256_mul_pd(a.part[3], b.part[3])}};
  }
  static double fold(const V& v) {
    const __m256d four = _mm256_add_pd(_mm256_add_pd(v.part[0], v.part[2]), _mm256_add_pd(v.part[1], v.part[3]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

}  // namespace

const QuadraticVariant kQuadraticAvx2{core::Isa::kAvx2, quadratic_rows<Doubles>};

}  // namespace lamina::kernels::cpu

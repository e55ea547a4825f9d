#include "kernels/cpu/quantize_body.h"

namespace lamina::kernels::cpu {

namespace {

struct Lanes512 {
  static __m512i none() { return _mm512_setzero_si512(); }
  static __m512i magnitude(__m512i so_far, const float* x) {
    const __m512i mask = _mm512_set1_epi32(0x7fffffff);
    for (int i = 0; i < 32; i += 16) {
      so_far = _mm512_max_epi32(so_far, _mm512_and_si512(_mm512_loadu_si512(x + i), mask));
    }
    return so_far;
  }
  static uint32_t largest(__m512i magnitude) {
    const __m256i half = _mm256_max_epi32(_mm512_castsi512_si256(magnitude), _mm512_extracti64x4_epi64(magnitude, 1));
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
  }
  static Sums quantize(const float* x, float factor, int offset, std::byte* out) {
    const __m512 scale = _mm512_set1_ps(factor);
    const __m128i low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), scale)));
    const __m128i high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), scale)));
    return store_bytes(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), offset, out);
  }
};

}  // namespace

const QuantizeVariant kQuantizeAvx512 = quantize_variant<Lanes512>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

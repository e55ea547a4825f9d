#include "kernels/cpu/quantize_body.h"

namespace lamina::kernels::cpu {

namespace {

struct Lanes256 {
  static __m256i none() { return _mm256_setzero_si256(); }
  static __m256i magnitude(__m256i so_far, const float* x) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    for (int i = 0; i < 32; i += 8) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
      so_far = _mm256_max_epi32(so_far, _mm256_and_si256(bits, mask));
    }
    return so_far;
  }
  static uint32_t largest(__m256i magnitude) {
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(magnitude), _mm256_extracti128_si256(magnitude, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
  }
  static Sums quantize(const float* x, float factor, int offset, std::byte* out) {
    const __m256 scale = _mm256_set1_ps(factor);
    __m256i q[4];
    for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), scale));
    const __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return store_bytes(_mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)), offset, out);
  }
};

}  // namespace

const QuantizeVariant kQuantizeAvx2 = quantize_variant<Lanes256>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

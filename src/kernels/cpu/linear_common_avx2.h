#pragma once

#include <immintrin.h>

#include "kernels/linear_driver.h"

/// What the AVX2 products share. Included by the files of AVX2 and AVX2-VNNI, hence internal linkage.
namespace lamina::kernels {
namespace {

#ifdef __AVXVNNI__
constexpr bool kVnni = true;
constexpr core::Isa kIsa = core::Isa::kAvx2Vnni;
/// Four unsigned bytes times four signed ones, added to each 32-bit lane.
inline __m256i dot_bytes(__m256i sum, __m256i u, __m256i s) {
  return _mm256_dpbusd_avx_epi32(sum, u, s);
}
#else
constexpr bool kVnni = false;
constexpr core::Isa kIsa = core::Isa::kAvx2;
inline __m256i dot_bytes(__m256i sum, __m256i u, __m256i s) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1)));
}
#endif

inline __m256i load(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store(std::byte* to, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}
inline __m256i broadcast(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof(value));
  return _mm256_set1_epi32(value);
}

inline __m256 broadcast_float(const std::byte* from) {
  return _mm256_broadcast_ss(reinterpret_cast<const float*>(from));
}
inline __m256 half_scales(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

/// Sixteen numbers for both halves of a shuffle.
inline __m256i value_table(const int8_t (&values)[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
}

/// One bit per byte at `from`: 0xff where it is set.
inline __m256i spread_bits(const std::byte* from) {
  const __m256i spread =
      _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ULL));
  return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(broadcast(from), spread), bit), bit);
}
/// Adds the power of two `value` where the plane of single bits is set.
inline __m256i with_bits(__m256i numbers, const std::byte* from, char value) {
  return _mm256_or_si256(numbers, _mm256_and_si256(spread_bits(from), _mm256_set1_epi8(value)));
}

/// Half a panel (8 outputs) of two groups of 4 inputs that lie 16 inputs apart.
struct Two {
  __m256i first;
  __m256i second;
};
inline Two read_nibbles(const std::byte* low) {
  const __m256i mask = _mm256_set1_epi8(15);
  const __m256i both = load(low);
  return {_mm256_and_si256(both, mask), _mm256_and_si256(_mm256_srli_epi16(both, 4), mask)};
}

}  // namespace
}  // namespace lamina::kernels

#pragma once

#include <immintrin.h>

#include "kernels/linear_driver.h"

/// What the AVX-512 products of integers share. Included by several files, hence internal linkage.
namespace lamina::kernels {
namespace {

inline __m512i load(const std::byte* from) {
  return _mm512_loadu_si512(from);
}
inline __m128i load16(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
inline __m512 half_scales(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline __m512i broadcast(const std::byte* from) {
  return _mm512_set1_epi32(load_as<int32_t>(from));
}
inline __m512 broadcast_float(const std::byte* from) {
  return _mm512_set1_ps(load_as<float>(from));
}

/// 32 inputs of a panel as bytes: 8 groups of 4.
using Group8 = __m512i[8];

/// 32 inputs from a nibble plane, as unsigned bytes.
inline void read_nibbles(const std::byte* low, Group8& w) {
  const __m512i mask = _mm512_set1_epi8(15);
  for (int j = 0; j < 4; ++j) {
    const __m512i both = load(low + 64 * j);
    w[j] = _mm512_and_si512(both, mask);
    w[j + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
  }
}
/// 32 inputs from a plane of 2 bits.
inline void read_pairs(const std::byte* low, Group8& w) {
  const __m512i mask = _mm512_set1_epi8(3);
  for (int j = 0; j < 2; ++j) {
    const __m512i four = load(low + 64 * j);
    w[j] = _mm512_and_si512(four, mask);
    w[j + 2] = _mm512_and_si512(_mm512_srli_epi16(four, 2), mask);
    w[j + 4] = _mm512_and_si512(_mm512_srli_epi16(four, 4), mask);
    w[j + 6] = _mm512_and_si512(_mm512_srli_epi16(four, 6), mask);
  }
}
/// Adds `value` where the plane of single bits is set.
inline void add_bits(const std::byte* high, char value, Group8& w) {
  for (int j = 0; j < 8; ++j) {
    const __mmask64 bits = _cvtu64_mask64(load_as<uint64_t>(high + 8 * j));
    w[j] = _mm512_mask_add_epi8(w[j], bits, w[j], _mm512_set1_epi8(value));
  }
}

}  // namespace
}  // namespace lamina::kernels

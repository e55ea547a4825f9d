#pragma once

#include <immintrin.h>

#include <bit>
#include <cstring>
#include <limits>

#include "kernels/quantize.h"

/// Quantizers written once over `Lanes`, for each instruction set's file, hence internal linkage. Lanes: kWidth;
/// magnitude(magnitude so far, 32 numbers): larger absolute values as integers; largest(magnitude);
/// quantize(32 numbers, factor, offset, out): int8 + offset to `out`; returns the two sums of 16 int8.
namespace lamina::kernels::cpu {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000;
/// Below this a block counts as zero, as in ref/.
constexpr float kTiny = 0x1p-110f;

struct Scale {
  float forward;  ///< multiplies x; 0: all numbers become zeros
  float back;     ///< multiplies q
};

inline Scale scale_of(uint32_t bits) {
  if (bits >= kInfinityBits) return {0.0F, std::numeric_limits<float>::quiet_NaN()};
  const float amax = std::bit_cast<float>(bits);
  if (amax < kTiny) return {0.0F, 0.0F};
  return {127.0F / amax, amax / 127.0F};
}

struct Sums {
  int32_t first = 0;
  int32_t second = 0;
};

template <typename T>
inline void put(std::byte* out, int64_t index, T value) {
  std::memcpy(out + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

template <class Lanes>
void quantize_block_row(const float* x, int64_t inputs, std::byte* out) {
  const BlockRow row = BlockRow::of(inputs);
  for (int64_t b = 0; b < inputs / 32; ++b) {
    const Scale scale = scale_of(Lanes::largest(Lanes::magnitude(Lanes::none(), x + 32 * b)));
    Sums sums;
    if (scale.forward == 0.0F) {
      std::memset(out + 32 * b, 0, 32);
    } else {
      sums = Lanes::quantize(x + 32 * b, scale.forward, 0, out + 32 * b);
    }
    const int32_t sum = sums.first + sums.second;
    put(out + row.scale, b, scale.back);
    put(out + row.bias, b, -128 * sum);
    put(out + row.sum, b, static_cast<float>(sum));
  }
}

template <class Lanes>
void quantize_super_row(const float* x, int64_t inputs, std::byte* out) {
  const SuperRow row = SuperRow::of(inputs);
  for (int64_t b = 0; b < inputs / 256; ++b) {
    const float* from = x + 256 * b;
    auto magnitude = Lanes::none();
    for (int64_t i = 0; i < 256; i += 32) magnitude = Lanes::magnitude(magnitude, from + i);
    const Scale scale = scale_of(Lanes::largest(magnitude));
    put(out + row.scale, b, scale.back);
    if (scale.forward == 0.0F) std::memset(out + 256 * b, 128, 256);
    for (int64_t s = 0; s < 8; ++s) {
      Sums sums;
      if (scale.forward != 0.0F) {
        sums = Lanes::quantize(from + 32 * s, scale.forward, -128, out + 256 * b + 32 * s);
      }
      put(out + row.sum16, 16 * b + 2 * s, static_cast<int16_t>(sums.first));
      put(out + row.sum16, 16 * b + 2 * s + 1, static_cast<int16_t>(sums.second));
      put(out + row.sum32, 8 * b + s, static_cast<int16_t>(sums.first + sums.second));
    }
  }
}

/// Integers alone, which the compiler vectorizes.
inline void quantize_bf16_row(const float* x, int64_t inputs, std::byte* out) {
  auto* to = reinterpret_cast<uint16_t*>(out);
  for (int64_t k = 0; k < inputs; ++k) {
    const auto bits = std::bit_cast<uint32_t>(x[k]);
    const uint32_t rounded = (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
    to[k] = static_cast<uint16_t>((bits & 0x7fffffffU) > kInfinityBits ? bits >> 16 | 0x40U : rounded);
  }
  std::memset(out + 2 * inputs, 0, static_cast<size_t>(bf16_row_bytes(inputs) - 2 * inputs));
}

template <class Lanes>
constexpr QuantizeVariant quantize_variant(core::Isa isa) {
  return {isa, quantize_block_row<Lanes>, quantize_super_row<Lanes>, quantize_bf16_row};
}

/// Sums of 16 and 16 signed bytes: lifted by 128, summed by distance to zero.
inline Sums byte_sums(__m256i q) {
  const __m256i lifted = _mm256_xor_si256(q, _mm256_set1_epi8(static_cast<char>(0x80)));
  const __m256i four = _mm256_sad_epu8(lifted, _mm256_setzero_si256());
  const __m256i two = _mm256_add_epi32(four, _mm256_unpackhi_epi64(four, four));
  return {_mm_cvtsi128_si32(_mm256_castsi256_si128(two)) - 16 * 128,
          _mm_cvtsi128_si32(_mm256_extracti128_si256(two, 1)) - 16 * 128};
}
inline Sums store_bytes(__m256i q, int offset, std::byte* out) {
  const __m256i moved = _mm256_xor_si256(q, _mm256_set1_epi8(static_cast<char>(offset)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), moved);
  return byte_sums(q);
}

}  // namespace
}  // namespace lamina::kernels::cpu

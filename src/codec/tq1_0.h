#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// Ternary: value = d * t, t in {-1, 0, 1}. A byte holds five base-3 digits as a fraction of 256: digit n is the
/// integer part of 3 * (byte * 3^n mod 256) / 256.
struct BlockTq1_0 {
  static constexpr int kElements = 256;
  uint8_t qs[48];  ///< bytes 0-31: elements 32n + i; bytes 32-47: elements 160 + 16n + i
  uint8_t qh[4];   ///< four digits each: elements 240 + 4n + i
  uint16_t d;
};
static_assert(sizeof(BlockTq1_0) == 54);

/// Digits 0 to `digits` - 1 of `count` bytes, digit by digit.
inline void decode_trits(float d, const uint8_t* bytes, int count, int digits, float* out) {
  uint32_t power = 1;
  for (int digit = 0; digit < digits; ++digit, power *= 3) {
    for (int i = 0; i < count; ++i) {
      const auto fraction = static_cast<uint8_t>(bytes[i] * power);
      *out++ = d * static_cast<float>((fraction * 3 >> 8) - 1);
    }
  }
}

inline void decode_block(const BlockTq1_0& block, float* out) {
  const float d = half_to_float(block.d);
  decode_trits(d, block.qs, 32, 5, out);
  decode_trits(d, block.qs + 32, 16, 5, out + 160);
  decode_trits(d, block.qh, 4, 4, out + 240);
}

}  // namespace lamina::codec

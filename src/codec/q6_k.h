#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// 6 bits in 16 groups of 16: value = d * scale * (q - 32), 8-bit signed scales.
struct BlockQ6_K {
  static constexpr int kElements = 256;
  uint8_t ql[128];  ///< byte l of half h (64 bytes): elements 128h + l (low nibble) and 128h + 64 + l (high)
  uint8_t qh[64];   ///< byte l of half h (32 bytes): upper bits of elements 128h + 32j + l in bits 2j, 2j + 1
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

inline void decode_block(const BlockQ6_K& block, float* out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group]);
    const int half = group / 8;
    const uint8_t* ql = block.ql + half * 64 + group % 4 * 16;
    const uint8_t* qh = block.qh + half * 32 + group % 2 * 16;
    const int low_shift = group / 4 % 2 * 4;
    const int high_shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int q = (ql[i] >> low_shift & 15) | (qh[i] >> high_shift & 3) << 4;
      *out++ = scale * static_cast<float>(q - 32);
    }
  }
}

}  // namespace lamina::codec

#pragma once

#include "codec/lattice.h"

namespace lamina::codec {

/// 32 points of eight, each 9 bits of grid and 7 of signs; 4-bit scales for every two points.
struct BlockIq2Xs {
  static constexpr int kElements = 256;
  uint16_t d;
  uint16_t qs[32];
  uint8_t scales[8];
};
static_assert(sizeof(BlockIq2Xs) == 74);

inline void decode_block(const BlockIq2Xs& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const int nibble = block.scales[i / 4] >> (i / 2 % 2 * 4) & 15;
    const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
    decode_point8(scale, kGridIq2Xs[block.qs[i] & 511], even_signs(block.qs[i] >> 9), out);
  }
}

}  // namespace lamina::codec

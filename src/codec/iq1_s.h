#pragma once

#include "codec/lattice.h"

namespace lamina::codec {

/// 32 ternary points of eight, 11 bits of grid each; for every four a 3-bit scale and the sign of a shift by 1/8.
struct BlockIq1S {
  static constexpr int kElements = 256;
  uint16_t d;
  uint8_t qs[32];
  uint16_t qh[8];  ///< four times three upper bits of the points, three bits of scale, the shift's sign
};
static_assert(sizeof(BlockIq1S) == 50);

inline void decode_block(const BlockIq1S& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const int high = block.qh[i / 4];
    const float scale = d * static_cast<float>(2 * (high >> 12 & 7) + 1);
    const float delta = (high & 0x8000) != 0 ? -0.125f : 0.125f;
    decode_point1(scale, kGridIq1[block.qs[i] | (high >> (i % 4 * 3) & 7) << 8], delta, out);
  }
}

}  // namespace lamina::codec

#pragma once

#include "codec/lattice.h"

namespace lamina::codec {

/// 32 ternary points of eight, 11 bits of grid and the sign of a shift by 1/8 each; 3-bit scales for every two points.
struct BlockIq1M {
  static constexpr int kElements = 256;
  uint8_t qs[32];
  uint8_t qh[16];      ///< a nibble a point: three upper bits, the shift's sign
  uint16_t scales[4];  ///< four 3-bit scales each; the upper nibbles, lowest first, are the f16 scale of the block
};
static_assert(sizeof(BlockIq1M) == 56);

inline void decode_block(const BlockIq1M& block, float* out) {
  uint32_t half = 0;
  for (int i = 0; i < 4; ++i) half |= static_cast<uint32_t>(block.scales[i] >> 12) << (4 * i);
  const float d = half_to_float(static_cast<uint16_t>(half));
  for (int i = 0; i < 32; ++i, out += 8) {
    const int nibble = block.qh[i / 2] >> (i % 2 * 4) & 15;
    const int group = i / 2;
    const float scale = d * static_cast<float>(2 * (block.scales[group / 4] >> (group % 4 * 3) & 7) + 1);
    const float delta = (nibble & 8) != 0 ? -0.125f : 0.125f;
    decode_point1(scale, kGridIq1[block.qs[i] | (nibble & 7) << 8], delta, out);
  }
}

}  // namespace lamina::codec

#pragma once

#include "codec/lattice.h"

namespace lamina::codec {

/// 8 groups of 32: four 8-bit grid points, four times 7 sign bits and a 4-bit scale.
struct BlockIq2Xxs {
  static constexpr int kElements = 256;
  uint16_t d;
  uint8_t qs[64];  ///< a group: 4 points, then 32 bits: signs from the lowest, scale in the upper four
};
static_assert(sizeof(BlockIq2Xxs) == 66);

inline void decode_block(const BlockIq2Xxs& block, float* out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* points = block.qs + group * 8;
    uint32_t word = 0;
    std::memcpy(&word, points + 4, sizeof(word));
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
    for (int i = 0; i < 4; ++i, out += 8) {
      decode_point8(scale, kGridIq2Xxs[points[i]], even_signs(word >> (7 * i) & 127u), out);
    }
  }
}

}  // namespace lamina::codec

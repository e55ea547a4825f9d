#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// 4 bits that index sixteen unevenly spaced values: value = d * kIq4Values[q]. Nibbles as in q4_0.
struct BlockIq4Nl {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  uint8_t qs[16];
};
static_assert(sizeof(BlockIq4Nl) == 18);

inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline void decode_block(const BlockIq4Nl& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4Values[block.qs[i] & 15]);
    out[i + 16] = d * static_cast<float>(kIq4Values[block.qs[i] >> 4]);
  }
}

}  // namespace lamina::codec

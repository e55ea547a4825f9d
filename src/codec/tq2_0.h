#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// Ternary in two bits: value = d * (q - 1).
struct BlockTq2_0 {
  static constexpr int kElements = 256;
  uint8_t qs[64];  ///< laid out as in q2_k
  uint16_t d;
};
static_assert(sizeof(BlockTq2_0) == 66);

inline void decode_block(const BlockTq2_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* qs = block.qs + group / 4 * 32;
    const int shift = group % 4 * 2;
    for (int i = 0; i < 32; ++i) *out++ = d * static_cast<float>((qs[i] >> shift & 3) - 1);
  }
}

}  // namespace lamina::codec

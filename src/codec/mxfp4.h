#pragma once

#include <bit>

#include "codec/block.h"

namespace lamina::codec {

/// OCP Microscaling FP4 (MX specification 1.0): 32 e2m1 numbers with a shared power of two. Nibbles as in q4_0.
struct BlockMxfp4 {
  static constexpr int kElements = 32;
  uint8_t e;  ///< exponent, e8m0
  uint8_t qs[16];
};
static_assert(sizeof(BlockMxfp4) == 17);

/// e2m1 values, doubled so that they are whole.
inline constexpr int8_t kMxfp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(e - 127) / 2: the half undoes the doubling.
inline float mxfp4_half_scale(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (uint32_t{e} - 1u) << 23);
}

inline void decode_block(const BlockMxfp4& block, float* out) {
  const float scale = mxfp4_half_scale(block.e);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(kMxfp4Doubled[block.qs[i] & 15]);
    out[i + 16] = scale * static_cast<float>(kMxfp4Doubled[block.qs[i] >> 4]);
  }
}

/// A block whose exponent and numbers lie apart, the numbers as neighbouring pairs with the low nibble first, as
/// safetensors files have them.
inline BlockMxfp4 join_mxfp4(uint8_t e, const uint8_t* pairs) {
  const auto number = [pairs](int i) { return i % 2 == 0 ? pairs[i / 2] & 15 : pairs[i / 2] >> 4; };
  BlockMxfp4 block{e, {}};
  for (int i = 0; i < 16; ++i) block.qs[i] = static_cast<uint8_t>(number(i) | number(i + 16) << 4);
  return block;
}

}  // namespace lamina::codec

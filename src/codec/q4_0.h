#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// 4 bits around zero: value = d * (q - 8). qs[i] holds element i in its low and i + 16 in its high nibble.
struct BlockQ4_0 {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

inline void decode_block(const BlockQ4_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block.qs[i] >> 4) - 8);
  }
}

/// The element of largest magnitude becomes exactly -8; the others are rounded half up.
inline void encode_block(const float* in, BlockQ4_0& block) {
  const float d = largest_magnitude(in, 32) / -8.0f;
  const float inverse = reciprocal_or_zero(d);
  block.d = float_to_half(d);
  for (int i = 0; i < 16; ++i) {
    const int low = truncate_to(in[i] * inverse + 8.5f, 15);
    const int high = truncate_to(in[i + 16] * inverse + 8.5f, 15);
    block.qs[i] = static_cast<uint8_t>(low | high << 4);
  }
}

}  // namespace lamina::codec

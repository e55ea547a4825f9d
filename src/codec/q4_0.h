#pragma once

#include "codec/block.h"
#include "codec/fit.h"

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

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ4_0& block, BlockScales& out) {
  out.scales[0] = half_to_float(block.d);
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockQ4_0& block, const uint8_t* codes) {
  for (int i = 0; i < 16; ++i) block.qs[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
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

/// Weighted least squares over the scale (fit.h), where weights are known; the simple rule above is what ggml's own is.
inline void encode_block(const float* in, BlockQ4_0& block, const float* weights) {
  block.d = float_to_half(fit_scale<32, WholeLevels<-8, 7>>(in, weights));
  const float inverse = reciprocal_or_zero(half_to_float(block.d));
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = WholeLevels<-8, 7>::code(in[i] * inverse);
  set_codes(block, codes);
}

}  // namespace lamina::codec

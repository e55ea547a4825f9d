#pragma once

#include "codec/fit.h"

namespace lamina::codec {

/// 4 bits above a minimum: value = d * q + m. qs[i] holds element i in its low and i + 16 in its high nibble.
struct BlockQ4_1 {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  uint16_t m;  ///< minimum, f16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

inline void decode_block(const BlockQ4_1& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(block.qs[i] >> 4) + m;
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ4_1& block, BlockScales& out) {
  out.scales[0] = half_to_float(block.d);
  out.offsets[0] = half_to_float(block.m);
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockQ4_1& block, const uint8_t* codes) {
  for (int i = 0; i < 16; ++i) block.qs[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

/// The range from smallest to largest is cut into 15 steps; rounded half up.
inline void encode_block(const float* in, BlockQ4_1& block) {
  const Extremes range = extremes(in, 32);
  const float d = (range.high - range.low) / 15.0f;
  const float inverse = reciprocal_or_zero(d);
  block.d = float_to_half(d);
  block.m = float_to_half(range.low);
  for (int i = 0; i < 16; ++i) {
    const int low = truncate_to((in[i] - range.low) * inverse + 0.5f, 15);
    const int high = truncate_to((in[i + 16] - range.low) * inverse + 0.5f, 15);
    block.qs[i] = static_cast<uint8_t>(low | high << 4);
  }
}

/// Weighted least squares over scale and minimum (fit.h), where weights are known.
inline void encode_block(const float* in, BlockQ4_1& block, const float* weights) {
  const GroupLine line = fit_line<32, 15, true>(in, weights);
  block.d = float_to_half(line.scale);
  block.m = float_to_half(-line.minimum);
  const float inverse = reciprocal_or_zero(half_to_float(block.d));
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = WholeLevels<0, 15>::code((in[i] - half_to_float(block.m)) * inverse);
  set_codes(block, codes);
}

}  // namespace lamina::codec

#pragma once

#include "codec/fit.h"

namespace lamina::codec {

/// 8 bits around zero: value = d * q.
struct BlockQ8_0 {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

inline void decode_block(const BlockQ8_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ8_0& block, BlockScales& out) {
  out.scales[0] = half_to_float(block.d);
}

/// Replaces the codes: the numbers plus 127.
inline void set_codes(BlockQ8_0& block, const uint8_t* codes) {
  for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<int8_t>(codes[i] - 127);
}

/// The largest magnitude becomes 127; the others are rounded half away from zero.
inline void encode_block(const float* in, BlockQ8_0& block) {
  const float d = std::fabs(largest_magnitude(in, 32)) / 127.0f;
  const float inverse = reciprocal_or_zero(d);
  block.d = float_to_half(d);
  for (int i = 0; i < 32; ++i) {
    const float magnitude = std::fabs(in[i] * inverse);
    const int rounded = truncate_to(magnitude + 0.5f, 127);
    // 0.49999997 + 0.5 rounds up to 1; such a number belongs to 0.
    const int exact = magnitude < 0.5f ? 0 : rounded;
    block.qs[i] = static_cast<int8_t>(in[i] < 0.0f ? -exact : exact);
  }
}

/// Weighted least squares over the scale (fit.h), where weights are known.
inline void encode_block(const float* in, BlockQ8_0& block, const float* weights) {
  block.d = float_to_half(fit_scale<32, WholeLevels<-127, 127>>(in, weights));
  const float inverse = reciprocal_or_zero(half_to_float(block.d));
  for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<int8_t>(WholeLevels<-127, 127>::nearest(in[i] * inverse));
}

}  // namespace lamina::codec

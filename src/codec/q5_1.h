#pragma once

#include "codec/fit.h"
#include "codec/q5_0.h"

namespace lamina::codec {

/// 5 bits above a minimum: value = d * q + m. Low four bits as in q4_1; bit i of qh is the fifth bit of element i.
struct BlockQ5_1 {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  uint16_t m;  ///< minimum, f16
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

inline void decode_block(const BlockQ5_1& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  uint32_t high = 0;
  std::memcpy(&high, block.qh, sizeof(high));
  for (int i = 0; i < 16; ++i) {
    const int first = (block.qs[i] & 15) | static_cast<int>(high >> i & 1u) << 4;
    const int second = (block.qs[i] >> 4) | static_cast<int>(high >> (i + 16) & 1u) << 4;
    out[i] = d * static_cast<float>(first) + m;
    out[i + 16] = d * static_cast<float>(second) + m;
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ5_1& block, BlockScales& out) {
  out.scales[0] = half_to_float(block.d);
  out.offsets[0] = half_to_float(block.m);
}

/// Replaces the codes, of 5 bits each.
inline void set_codes(BlockQ5_1& block, const uint8_t* codes) {
  set_five_bit_codes(block, codes);
}

/// The range from smallest to largest is cut into 31 steps; rounded half up.
inline void encode_block(const float* in, BlockQ5_1& block) {
  const Extremes range = extremes(in, 32);
  const float d = (range.high - range.low) / 31.0f;
  const float inverse = reciprocal_or_zero(d);
  block.d = float_to_half(d);
  block.m = float_to_half(range.low);
  uint32_t high = 0;
  for (int i = 0; i < 16; ++i) {
    const uint32_t first = truncate_to((in[i] - range.low) * inverse + 0.5f, 31);
    const uint32_t second = truncate_to((in[i + 16] - range.low) * inverse + 0.5f, 31);
    block.qs[i] = static_cast<uint8_t>((first & 15u) | (second & 15u) << 4);
    high |= first >> 4 << i | second >> 4 << (i + 16);
  }
  std::memcpy(block.qh, &high, sizeof(high));
}

/// Weighted least squares over scale and minimum (fit.h), where weights are known.
inline void encode_block(const float* in, BlockQ5_1& block, const float* weights) {
  const GroupLine line = fit_line<32, 31, true>(in, weights);
  block.d = float_to_half(line.scale);
  block.m = float_to_half(-line.minimum);
  const float inverse = reciprocal_or_zero(half_to_float(block.d));
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = WholeLevels<0, 31>::code((in[i] - half_to_float(block.m)) * inverse);
  set_codes(block, codes);
}

}  // namespace lamina::codec

#pragma once

#include "codec/block.h"
#include "codec/fit.h"

namespace lamina::codec {

/// 5 bits around zero: value = d * (q - 16). Low four bits as in q4_0; bit i of qh is the fifth bit of element i.
struct BlockQ5_0 {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

inline void decode_block(const BlockQ5_0& block, float* out) {
  const float d = half_to_float(block.d);
  uint32_t high = 0;
  std::memcpy(&high, block.qh, sizeof(high));
  for (int i = 0; i < 16; ++i) {
    const int first = (block.qs[i] & 15) | static_cast<int>(high >> i & 1u) << 4;
    const int second = (block.qs[i] >> 4) | static_cast<int>(high >> (i + 16) & 1u) << 4;
    out[i] = d * static_cast<float>(first - 16);
    out[i + 16] = d * static_cast<float>(second - 16);
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ5_0& block, BlockScales& out) {
  out.scales[0] = half_to_float(block.d);
}

/// Replaces the codes, of 5 bits each.
template <typename Block>
void set_five_bit_codes(Block& block, const uint8_t* codes) {
  uint32_t high = 0;
  for (int i = 0; i < 16; ++i) {
    const uint32_t first = codes[i];
    const uint32_t second = codes[i + 16];
    block.qs[i] = static_cast<uint8_t>((first & 15u) | (second & 15u) << 4);
    high |= first >> 4 << i | second >> 4 << (i + 16);
  }
  std::memcpy(block.qh, &high, sizeof(high));
}

inline void set_codes(BlockQ5_0& block, const uint8_t* codes) {
  set_five_bit_codes(block, codes);
}

/// The element of largest magnitude becomes exactly -16; the others are rounded half up.
inline void encode_block(const float* in, BlockQ5_0& block) {
  const float d = largest_magnitude(in, 32) / -16.0f;
  const float inverse = reciprocal_or_zero(d);
  block.d = float_to_half(d);
  uint32_t high = 0;
  for (int i = 0; i < 16; ++i) {
    const uint32_t first = truncate_to(in[i] * inverse + 16.5f, 31);
    const uint32_t second = truncate_to(in[i + 16] * inverse + 16.5f, 31);
    block.qs[i] = static_cast<uint8_t>((first & 15u) | (second & 15u) << 4);
    high |= first >> 4 << i | second >> 4 << (i + 16);
  }
  std::memcpy(block.qh, &high, sizeof(high));
}

/// Weighted least squares over the scale, as in q4_0.
inline void encode_block(const float* in, BlockQ5_0& block, const float* weights) {
  block.d = float_to_half(fit_scale<32, WholeLevels<-16, 15>>(in, weights));
  const float inverse = reciprocal_or_zero(half_to_float(block.d));
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = WholeLevels<-16, 15>::code(in[i] * inverse);
  set_codes(block, codes);
}

}  // namespace lamina::codec

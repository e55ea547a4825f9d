#pragma once

#include <algorithm>
#include <bit>
#include <limits>

#include "codec/fit.h"

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

/// The nearest e2m1 value to `value`, which is doubled as those of kMxfp4Doubled are; of two, the first.
inline uint8_t nearest_e2m1(float value) {
  const float magnitude = std::fabs(value);
  int index = 0;
  for (int i = 0; i < 7; ++i)
    index += magnitude > 0.5f * static_cast<float>(kMxfp4Doubled[i] + kMxfp4Doubled[i + 1]) ? 1 : 0;
  return static_cast<uint8_t>(value < 0 && index > 0 ? index + 8 : index);
}

/// The numbers as levels (grid.h).
struct E2m1Levels {
  static uint8_t code(float value) { return nearest_e2m1(value); }
  static float value(uint8_t code) { return static_cast<float>(kMxfp4Doubled[code]); }
};

/// Encodes `count` numbers (even halves as in q4_0) with that half scale; returns the sum of weighted squared errors.
template <typename Weights = EvenWeights>
float encode_e2m1(const float* in, int count, float half_scale, uint8_t* qs, Weights weights = {}) {
  const float inverse = reciprocal_or_zero(half_scale);
  float error = 0;
  for (int i = 0; i < count; ++i) {
    const uint8_t code = nearest_e2m1(in[i] * inverse);
    const float difference = in[i] - half_scale * static_cast<float>(kMxfp4Doubled[code]);
    error += weights[i] * difference * difference;
    qs[i % (count / 2)] = static_cast<uint8_t>(i < count / 2 ? code : qs[i % (count / 2)] | code << 4);
  }
  return error;
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockMxfp4& block, BlockScales& out) {
  out.scales[0] = mxfp4_half_scale(block.e);
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockMxfp4& block, const uint8_t* codes) {
  for (int i = 0; i < 16; ++i) block.qs[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

/// The power of two with the least squared error, of those that bring the largest magnitude to 1.5 .. 12.
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockMxfp4& block, Weights weights = {}) {
  const float peak = std::fabs(largest_magnitude(in, 32));
  const int exponent = peak > 0 ? std::min(std::ilogb(peak), 128) : -127;
  float best = std::numeric_limits<float>::infinity();
  for (int shift = -3; shift <= 0; ++shift) {
    const int e = exponent + shift + 127;
    if (e < 0 || e > 254) continue;
    BlockMxfp4 trial{};
    trial.e = static_cast<uint8_t>(e);
    const float error = encode_e2m1(in, 32, mxfp4_half_scale(trial.e), trial.qs, weights);
    if (!(error < best)) continue;
    best = error;
    block = trial;
  }
}

}  // namespace lamina::codec

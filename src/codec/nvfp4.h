#pragma once

#include <algorithm>

#include "codec/mxfp4.h"

namespace lamina::codec {

/// Four groups of 16 e2m1 numbers, each with an 8-bit float as scale (e4m3 without sign); the tensor has no scale of
/// its own. Nibbles as in q4_0, group by group.
struct BlockNvfp4 {
  static constexpr int kElements = 64;
  uint8_t d[4];
  uint8_t qs[32];
};
static_assert(sizeof(BlockNvfp4) == 36);

/// Half of the scale: the half undoes the doubling of kMxfp4Doubled. 0x7f (NaN in e4m3) counts as zero.
inline float nvfp4_half_scale(uint8_t code) {
  if (code == 0x7f) return 0.0f;
  const int exponent = code >> 3 & 15;
  const auto mantissa = static_cast<float>(code & 7);
  return 0.5f * (exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(1.0f + mantissa / 8.0f, exponent - 7));
}

inline void decode_block(const BlockNvfp4& block, float* out) {
  for (int group = 0; group < 4; ++group, out += 16) {
    const float scale = nvfp4_half_scale(block.d[group]);
    for (int i = 0; i < 8; ++i) {
      const uint8_t pair = block.qs[group * 8 + i];
      out[i] = scale * static_cast<float>(kMxfp4Doubled[pair & 15]);
      out[i + 8] = scale * static_cast<float>(kMxfp4Doubled[pair >> 4]);
    }
  }
}

/// The largest scale code whose scale is at most `scale`; codes grow with their scales.
inline int nvfp4_code_below(float scale) {
  int code = 0;
  for (int bit = 64; bit > 0; bit /= 2) {
    if (code + bit < 0x7f && 2.0f * nvfp4_half_scale(static_cast<uint8_t>(code + bit)) <= scale) code += bit;
  }
  return code;
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockNvfp4& block, BlockScales& out) {
  out.group = 16;
  for (int group = 0; group < 4; ++group) out.scales[group] = nvfp4_half_scale(block.d[group]);
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockNvfp4& block, const uint8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    const int first = i / 8 * 16 + i % 8;
    block.qs[i] = static_cast<uint8_t>(codes[first] | codes[first + 8] << 4);
  }
}

/// For each group the scale with the least squared error, of those that bring the largest magnitude to about 4 .. 7.
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockNvfp4& block, Weights weights = {}) {
  for (int group = 0; group < 4; ++group, in += 16) {
    const float peak = std::fabs(largest_magnitude(in, 16));
    float best = std::numeric_limits<float>::infinity();
    const int last = std::min(nvfp4_code_below(peak / 4.0f) + 1, 0x7e);
    for (int code = nvfp4_code_below(peak / 7.0f); code <= last; ++code) {
      uint8_t qs[8] = {};
      const float error = encode_e2m1(in, 16, nvfp4_half_scale(static_cast<uint8_t>(code)), qs, weights + group * 16);
      if (!(error < best)) continue;
      best = error;
      block.d[group] = static_cast<uint8_t>(code);
      std::memcpy(block.qs + group * 8, qs, sizeof(qs));
    }
  }
}

}  // namespace lamina::codec

#pragma once

#include "codec/block.h"
#include "codec/fit.h"

namespace lamina::codec {

/// 2 bits in 16 groups of 16: value = d * scale * q - dmin * minimum, 4-bit scale (low nibble) and minimum (high).
struct BlockQ2_K {
  static constexpr int kElements = 256;
  uint8_t scales[16];
  uint8_t qs[64];  ///< byte l of half h holds elements 128h + 32j + l in bits 2j, 2j + 1
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

inline void decode_block(const BlockQ2_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group] & 15);
    const float minimum = dmin * static_cast<float>(block.scales[group] >> 4);
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const int shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) *out++ = scale * static_cast<float>(qs[i] >> shift & 3) - minimum;
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ2_K& block, BlockScales& out) {
  out.group = 16;
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int group = 0; group < 16; ++group) {
    out.scales[group] = d * static_cast<float>(block.scales[group] & 15);
    out.offsets[group] = -(dmin * static_cast<float>(block.scales[group] >> 4));
  }
}

/// Replaces the codes, of 2 bits each.
inline void set_codes(BlockQ2_K& block, const uint8_t* codes) {
  for (uint8_t& byte : block.qs) byte = 0;
  for (int e = 0; e < 256; ++e) {
    block.qs[e / 128 * 32 + e % 32] |= static_cast<uint8_t>(codes[e] << (e / 32 % 4 * 2));
  }
}

/// Least squares over scales, minimums and levels (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockQ2_K& block, Weights weights = {}) {
  const LinedGroups<16, 16, 3, 15> fit(in, weights);
  block.d = fit.d;
  block.dmin = fit.dmin;
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<uint8_t>(fit.scales[g] | fit.minimums[g] << 4);
  set_codes(block, fit.levels.data());
}

}  // namespace lamina::codec

#pragma once

#include "codec/fit.h"
#include "codec/iq4_nl.h"

namespace lamina::codec {

/// iq4_nl in 8 groups of 32 with 6-bit scales: value = d * (scale - 32) * kIq4Values[q].
struct BlockIq4Xs {
  static constexpr int kElements = 256;
  uint16_t d;           ///< scale, f16
  uint16_t scales_h;    ///< upper two bits of the scale of group g in bits 2g, 2g + 1
  uint8_t scales_l[4];  ///< low nibbles, groups 2i and 2i + 1 in byte i
  uint8_t qs[128];      ///< 16 bytes a group, nibbles as in q4_0
};
static_assert(sizeof(BlockIq4Xs) == 136);

inline void decode_block(const BlockIq4Xs& block, float* out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 8; ++group, out += 32) {
    const int low = block.scales_l[group / 2] >> (group % 2 * 4) & 15;
    const int high = block.scales_h >> (2 * group) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int i = 0; i < 16; ++i) {
      const uint8_t pair = block.qs[group * 16 + i];
      out[i] = scale * static_cast<float>(kIq4Values[pair & 15]);
      out[i + 16] = scale * static_cast<float>(kIq4Values[pair >> 4]);
    }
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockIq4Xs& block, BlockScales& out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const int low = block.scales_l[group / 2] >> (group % 2 * 4) & 15;
    const int high = block.scales_h >> (2 * group) & 3;
    out.scales[group] = d * static_cast<float>((low | high << 4) - 32);
  }
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockIq4Xs& block, const uint8_t* codes) {
  for (int i = 0; i < 128; ++i) {
    const int first = i / 16 * 32 + i % 16;
    block.qs[i] = static_cast<uint8_t>(codes[first] | codes[first + 16] << 4);
  }
}

/// Least squares over scales and levels (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockIq4Xs& block, Weights weights = {}) {
  const ScaledGroups<32, 8, -32, 31, Iq4Levels> fit(in, weights);
  block.d = fit.d;
  for (int g = 0; g < 8; ++g) {
    const int scale = fit.scales[g] + 32;
    block.scales_l[g / 2] |= static_cast<uint8_t>((scale & 15) << (g % 2 * 4));
    block.scales_h = static_cast<uint16_t>(block.scales_h | scale >> 4 << (2 * g));
    for (int i = 0; i < 16; ++i) {
      const float* levels = fit.levels.data() + g * 32 + i;
      block.qs[g * 16 + i] = static_cast<uint8_t>(Iq4Levels::index(levels[0]) | Iq4Levels::index(levels[16]) << 4);
    }
  }
}

}  // namespace lamina::codec

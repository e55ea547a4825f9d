#pragma once

#include "codec/fit_lattice.h"

namespace lamina::codec {

/// 64 points of four, 8 bits of grid each; for every 32 elements four times 7 sign bits and a 4-bit scale.
struct BlockIq3Xxs {
  static constexpr int kElements = 256;
  uint16_t d;
  uint8_t qs[64];
  uint8_t words[32];  ///< 32 bits a group: signs from the lowest, scale in the upper four
};
static_assert(sizeof(BlockIq3Xxs) == 98);

inline void decode_block(const BlockIq3Xxs& block, float* out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* points = block.qs + group * 8;
    uint32_t word = 0;
    std::memcpy(&word, block.words + group * 4, sizeof(word));
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
    for (int i = 0; i < 4; ++i, out += 8) {
      decode_points4(scale, kIq3XxsValues, kGridIq3Xxs[points[2 * i]], kGridIq3Xxs[points[2 * i + 1]],
                     even_signs(word >> (7 * i) & 127u), out);
    }
  }
}

/// Least squares over scales and points (fit_lattice.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockIq3Xxs& block, Weights weights = {}) {
  const LatticeFit<LatticeIq3Xxs> fit(in, weights);
  block.d = fit.d;
  for (int i = 0; i < 64; ++i) block.qs[i] = static_cast<uint8_t>(fit.points[i]);
  for (int group = 0; group < 8; ++group) {
    uint32_t word = uint32_t{fit.scales[group]} << 28;
    for (int i = 0; i < 4; ++i) word |= (uint32_t{fit.signs[group * 4 + i]} & 127u) << (7 * i);
    std::memcpy(block.words + group * 4, &word, sizeof(word));
  }
}

}  // namespace lamina::codec

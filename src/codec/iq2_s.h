#pragma once

#include "codec/fit_lattice.h"

namespace lamina::codec {

/// 32 points of eight, each 10 bits of grid and 8 signs; 4-bit scales for every two points.
struct BlockIq2S {
  static constexpr int kElements = 256;
  uint16_t d;
  uint8_t qs[32];  ///< lower bits of the points
  uint8_t signs[32];
  uint8_t qh[8];  ///< upper two bits of points 4i to 4i + 3
  uint8_t scales[8];
};
static_assert(sizeof(BlockIq2S) == 82);

inline void decode_block(const BlockIq2S& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const int nibble = block.scales[i / 4] >> (i / 2 % 2 * 4) & 15;
    const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
    const int point = block.qs[i] | (block.qh[i / 4] >> (i % 4 * 2) & 3) << 8;
    decode_point8(scale, kGridIq2S[point], block.signs[i], out);
  }
}

/// Least squares over scales and points (fit_lattice.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockIq2S& block, Weights weights = {}) {
  const LatticeFit<LatticeIq2S> fit(in, weights);
  block.d = fit.d;
  std::copy(fit.signs.begin(), fit.signs.end(), block.signs);
  for (int g = 0; g < 16; ++g) block.scales[g / 2] |= static_cast<uint8_t>(fit.scales[g] << (g % 2 * 4));
  for (int i = 0; i < 32; ++i) {
    block.qs[i] = static_cast<uint8_t>(fit.points[i] & 255);
    block.qh[i / 4] |= static_cast<uint8_t>(fit.points[i] >> 8 << (i % 4 * 2));
  }
}

}  // namespace lamina::codec

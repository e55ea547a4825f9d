#pragma once

#include "codec/fit_lattice.h"

namespace lamina::codec {

/// 64 points of four, 9 bits of grid each; signs of their own; 4-bit scales for every 32 elements.
struct BlockIq3S {
  static constexpr int kElements = 256;
  uint16_t d;
  uint8_t qs[64];
  uint8_t qh[8];  ///< ninth bits, eight points a byte
  uint8_t signs[32];
  uint8_t scales[4];
};
static_assert(sizeof(BlockIq3S) == 110);

inline void decode_block(const BlockIq3S& block, float* out) {
  const float d = half_to_float(block.d);
  const auto point = [&](int i) { return kGridIq3S[block.qs[i] | (block.qh[i / 8] >> (i % 8) & 1) << 8]; };
  for (int i = 0; i < 32; ++i, out += 8) {
    const int nibble = block.scales[i / 8] >> (i / 4 % 2 * 4) & 15;
    const float scale = d * static_cast<float>(1 + 2 * nibble);
    decode_points4(scale, kIq3SValues, point(2 * i), point(2 * i + 1), block.signs[i], out);
  }
}

/// Least squares over scales and points (fit_lattice.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockIq3S& block, Weights weights = {}) {
  const LatticeFit<LatticeIq3S> fit(in, weights);
  block.d = fit.d;
  std::copy(fit.signs.begin(), fit.signs.end(), block.signs);
  for (int g = 0; g < 8; ++g) block.scales[g / 2] |= static_cast<uint8_t>(fit.scales[g] << (g % 2 * 4));
  for (int i = 0; i < 64; ++i) {
    block.qs[i] = static_cast<uint8_t>(fit.points[i] & 255);
    block.qh[i / 8] |= static_cast<uint8_t>(fit.points[i] >> 8 << (i % 8));
  }
}

}  // namespace lamina::codec

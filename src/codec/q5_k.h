#pragma once

#include "codec/fit.h"
#include "codec/q4_k.h"

namespace lamina::codec {

/// 5 bits in 8 groups of 32: value = d * scale * q - dmin * minimum, scales as in q4_k.
struct BlockQ5_K {
  static constexpr int kElements = 256;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  ///< see unpack_k_scales
  uint8_t qh[32];      ///< bit e / 32 of byte e % 32 is the fifth bit of element e
  uint8_t qs[128];     ///< low nibbles, laid out as in q4_k
};
static_assert(sizeof(BlockQ5_K) == 176);

inline void decode_block(const BlockQ5_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  uint8_t scales[8];
  uint8_t minimums[8];
  unpack_k_scales(block.scales, scales, minimums);
  for (int group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(scales[group]);
    const float minimum = dmin * static_cast<float>(minimums[group]);
    const uint8_t* qs = block.qs + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int q = (qs[i] >> shift & 15) | (block.qh[i] >> group & 1) << 4;
      *out++ = scale * static_cast<float>(q) - minimum;
    }
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ5_K& block, BlockScales& out) {
  k_block_scales(block, out);
}

/// Replaces the codes, of 5 bits each.
inline void set_codes(BlockQ5_K& block, const uint8_t* codes) {
  for (int i = 0; i < 128; ++i) {
    const int first = i / 32 * 64 + i % 32;
    block.qs[i] = static_cast<uint8_t>((codes[first] & 15) | (codes[first + 32] & 15) << 4);
  }
  for (uint8_t& byte : block.qh) byte = 0;
  for (int e = 0; e < 256; ++e) block.qh[e % 32] |= static_cast<uint8_t>(codes[e] >> 4 << (e / 32));
}

/// Least squares over scales, minimums and levels (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockQ5_K& block, Weights weights = {}) {
  const LinedGroups<32, 8, 31, 63> fit(in, weights);
  block.d = fit.d;
  block.dmin = fit.dmin;
  pack_k_scales(fit.scales.data(), fit.minimums.data(), block.scales);
  set_codes(block, fit.levels.data());
}

}  // namespace lamina::codec

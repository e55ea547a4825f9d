#pragma once

#include "codec/block.h"
#include "codec/fit.h"

namespace lamina::codec {

/// 6 bits in 16 groups of 16: value = d * scale * (q - 32), 8-bit signed scales.
struct BlockQ6_K {
  static constexpr int kElements = 256;
  uint8_t ql[128];  ///< byte l of half h (64 bytes): elements 128h + l (low nibble) and 128h + 64 + l (high)
  uint8_t qh[64];   ///< byte l of half h (32 bytes): upper bits of elements 128h + 32j + l in bits 2j, 2j + 1
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

inline void decode_block(const BlockQ6_K& block, float* out) {
  const float d = half_to_float(block.d);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group]);
    const int half = group / 8;
    const uint8_t* ql = block.ql + half * 64 + group % 4 * 16;
    const uint8_t* qh = block.qh + half * 32 + group % 2 * 16;
    const int low_shift = group / 4 % 2 * 4;
    const int high_shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int q = (ql[i] >> low_shift & 15) | (qh[i] >> high_shift & 3) << 4;
      *out++ = scale * static_cast<float>(q - 32);
    }
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ6_K& block, BlockScales& out) {
  out.group = 16;
  const float d = half_to_float(block.d);
  for (int group = 0; group < 16; ++group) out.scales[group] = d * static_cast<float>(block.scales[group]);
}

/// Replaces the codes: levels plus 32.
inline void set_codes(BlockQ6_K& block, const uint8_t* codes) {
  for (uint8_t& byte : block.ql) byte = 0;
  for (uint8_t& byte : block.qh) byte = 0;
  for (int e = 0; e < 256; ++e) {
    block.ql[e / 128 * 64 + e % 64] |= static_cast<uint8_t>((codes[e] & 15) << (e / 64 % 2 * 4));
    block.qh[e / 128 * 32 + e % 32] |= static_cast<uint8_t>(codes[e] >> 4 << (e / 32 % 4 * 2));
  }
}

/// Least squares over scales and levels (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockQ6_K& block, Weights weights = {}) {
  const ScaledGroups<16, 16, -128, 127, WholeLevels<-32, 31>> fit(in, weights);
  block.d = fit.d;
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<int8_t>(fit.scales[g]);
  uint8_t codes[256];
  for (int e = 0; e < 256; ++e) codes[e] = static_cast<uint8_t>(static_cast<int>(fit.levels[e]) + 32);
  set_codes(block, codes);
}

}  // namespace lamina::codec

#pragma once

#include "codec/block.h"
#include "codec/fit.h"

namespace lamina::codec {

/// 3 bits in 16 groups of 16: value = d * (scale - 32) * (q - 4), 6-bit scales.
struct BlockQ3_K {
  static constexpr int kElements = 256;
  uint8_t hmask[32];   ///< bit e / 32 of byte e % 32 is the third bit of element e
  uint8_t qs[64];      ///< low two bits, laid out as in q2_k
  uint8_t scales[12];  ///< low nibbles of 0-7 and 8-15 in bytes 0-7, upper bits of i in byte 8 + i % 4
  uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

/// Unpacks the 16 scales, each in [-32, 31].
inline void unpack_q3_k_scales(const uint8_t* packed, int* scales) {
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
    const int high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
    scales[i] = (low | high << 4) - 32;
  }
}

inline void decode_block(const BlockQ3_K& block, float* out) {
  const float d = half_to_float(block.d);
  int scales[16];
  unpack_q3_k_scales(block.scales, scales);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(scales[group]);
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const uint8_t* high = block.hmask + group % 2 * 16;
    const int shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int q = (qs[i] >> shift & 3) | (high[i] >> (group / 2) & 1) << 2;
      *out++ = scale * static_cast<float>(q - 4);
    }
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ3_K& block, BlockScales& out) {
  out.group = 16;
  const float d = half_to_float(block.d);
  int scales[16];
  unpack_q3_k_scales(block.scales, scales);
  for (int group = 0; group < 16; ++group) out.scales[group] = d * static_cast<float>(scales[group]);
}

/// Replaces the codes: levels plus 4.
inline void set_codes(BlockQ3_K& block, const uint8_t* codes) {
  for (uint8_t& byte : block.qs) byte = 0;
  for (uint8_t& byte : block.hmask) byte = 0;
  for (int e = 0; e < 256; ++e) {
    block.qs[e / 128 * 32 + e % 32] |= static_cast<uint8_t>((codes[e] & 3) << (e / 32 % 4 * 2));
    block.hmask[e % 32] |= static_cast<uint8_t>(codes[e] >> 2 << (e / 32));
  }
}

/// Least squares over scales and levels (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockQ3_K& block, Weights weights = {}) {
  const ScaledGroups<16, 16, -32, 31, WholeLevels<-4, 3>> fit(in, weights);
  block.d = fit.d;
  for (int g = 0; g < 16; ++g) {
    const int scale = fit.scales[g] + 32;
    block.scales[g % 8] |= static_cast<uint8_t>((scale & 15) << (g / 8 * 4));
    block.scales[8 + g % 4] |= static_cast<uint8_t>(scale >> 4 << (g / 4 * 2));
  }
  uint8_t codes[256];
  for (int e = 0; e < 256; ++e) codes[e] = static_cast<uint8_t>(static_cast<int>(fit.levels[e]) + 4);
  set_codes(block, codes);
}

}  // namespace lamina::codec

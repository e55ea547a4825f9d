#pragma once

#include "codec/block.h"
#include "codec/fit.h"

namespace lamina::codec {

/// 4 bits in 8 groups of 32: value = d * scale * q - dmin * minimum, 6-bit scales and minimums.
struct BlockQ4_K {
  static constexpr int kElements = 256;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  ///< see unpack_k_scales
  uint8_t qs[128];     ///< byte 32p + l holds elements 64p + l (low nibble) and 64p + 32 + l (high)
};
static_assert(sizeof(BlockQ4_K) == 144);

/// Unpacks the 8 scales and 8 minimums of q4_k and q5_k: bytes 0-3 and 4-7 hold the lower six bits of scales and
/// minimums 0-3, their top two bits belong to 4-7, whose low nibbles are in bytes 8-11.
inline void unpack_k_scales(const uint8_t* packed, uint8_t* scales, uint8_t* minimums) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = packed[i] & 63;
    minimums[i] = packed[i + 4] & 63;
    scales[i + 4] = static_cast<uint8_t>((packed[i + 8] & 15) | (packed[i] >> 6) << 4);
    minimums[i + 4] = static_cast<uint8_t>((packed[i + 8] >> 4) | (packed[i + 4] >> 6) << 4);
  }
}

/// The opposite of unpack_k_scales.
inline void pack_k_scales(const uint8_t* scales, const uint8_t* minimums, uint8_t* packed) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(scales[i] | (scales[i + 4] >> 4) << 6);
    packed[i + 4] = static_cast<uint8_t>(minimums[i] | (minimums[i + 4] >> 4) << 6);
    packed[i + 8] = static_cast<uint8_t>((scales[i + 4] & 15) | (minimums[i + 4] & 15) << 4);
  }
}

inline void decode_block(const BlockQ4_K& block, float* out) {
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
    for (int i = 0; i < 32; ++i) *out++ = scale * static_cast<float>(qs[i] >> shift & 15) - minimum;
  }
}

/// Of blocks with scales and minimums packed so.
template <typename Block>
void k_block_scales(const Block& block, BlockScales& out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  uint8_t scales[8];
  uint8_t minimums[8];
  unpack_k_scales(block.scales, scales, minimums);
  for (int group = 0; group < 8; ++group) {
    out.scales[group] = d * static_cast<float>(scales[group]);
    out.offsets[group] = -(dmin * static_cast<float>(minimums[group]));
  }
}

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockQ4_K& block, BlockScales& out) {
  k_block_scales(block, out);
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockQ4_K& block, const uint8_t* codes) {
  for (int i = 0; i < 128; ++i) {
    const int first = i / 32 * 64 + i % 32;
    block.qs[i] = static_cast<uint8_t>(codes[first] | codes[first + 32] << 4);
  }
}

/// Least squares over scales, minimums and levels (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockQ4_K& block, Weights weights = {}) {
  const LinedGroups<32, 8, 15, 63> fit(in, weights);
  block.d = fit.d;
  block.dmin = fit.dmin;
  pack_k_scales(fit.scales.data(), fit.minimums.data(), block.scales);
  set_codes(block, fit.levels.data());
}

}  // namespace lamina::codec

#pragma once

#include <span>

#include "codec/block.h"
#include "codec/fit_book.h"

namespace lamina::codec {

/// 2 bits that index four values of the block's own, in 16 groups of 16 with signed 4-bit scales:
/// value = d * kCb2Unit * scale * book[q]. A format of this project: GGUF files say it by a type number of its own.
struct BlockCb2 {
  static constexpr int kElements = 256;
  uint16_t d;         ///< f16
  int8_t book[4];     ///< what the codes stand for
  uint8_t scales[8];  ///< groups 2i (low nibble) and 2i + 1 in byte i, from -8 to 7
  uint8_t qs[64];     ///< as in q2_k
};
static_assert(sizeof(BlockCb2) == 78);

/// So that d is about the block's largest magnitude, far from the smallest of f16.
inline constexpr float kCb2Unit = 0x1p-10f;

inline int cb2_scale(const BlockCb2& block, int group) {
  return ((block.scales[group / 2] >> (group % 2 * 4) & 15) ^ 8) - 8;
}

inline void decode_block(const BlockCb2& block, float* out) {
  const float d = half_to_float(block.d) * kCb2Unit;
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(cb2_scale(block, group));
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const int shift = group / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) *out++ = scale * static_cast<float>(block.book[qs[i] >> shift & 3]);
  }
}

/// The scales and values by which codes become numbers (grid.h).
inline void block_scales(const BlockCb2& block, BlockScales& out) {
  out.group = 16;
  const float d = half_to_float(block.d) * kCb2Unit;
  for (int group = 0; group < 16; ++group) out.scales[group] = d * static_cast<float>(cb2_scale(block, group));
  for (int k = 0; k < 4; ++k) out.book[k] = static_cast<float>(block.book[k]);
}

/// Replaces the codes, of 2 bits each.
inline void set_codes(BlockCb2& block, const uint8_t* codes) {
  for (uint8_t& byte : block.qs) byte = 0;
  for (int e = 0; e < 256; ++e) {
    block.qs[e / 128 * 32 + e % 32] |= static_cast<uint8_t>(codes[e] << (e / 32 % 4 * 2));
  }
}

/// Least squares over scales, values and codes (fit_book.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockCb2& block, Weights weights = {}) {
  // What blocks of normally distributed weights learn most often: groups choose by their sign which end reaches far.
  static constexpr std::array<float, 4> kStarts[] = {{-127, -38, 40, 110}};
  const BookGroups<16, 16, -8, 7, 4> fit(in, weights, kCb2Unit, kStarts);
  block.d = fit.d;
  uint8_t codes[256];
  for (int k = 0; k < 4; ++k) block.book[k] = static_cast<int8_t>(fit.book[k]);
  for (int g = 0; g < 16; ++g) block.scales[g / 2] |= static_cast<uint8_t>((fit.scales[g] & 15) << (g % 2 * 4));
  for (int i = 0; i < 256; ++i) codes[i] = fit.code(i);
  set_codes(block, codes);
}

}  // namespace lamina::codec

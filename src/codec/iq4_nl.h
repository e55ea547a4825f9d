#pragma once

#include "codec/block.h"
#include "codec/fit.h"

namespace lamina::codec {

/// 4 bits that index sixteen unevenly spaced values: value = d * kIq4Values[q]. Nibbles as in q4_0.
struct BlockIq4Nl {
  static constexpr int kElements = 32;
  uint16_t d;  ///< scale, f16
  uint8_t qs[16];
};
static_assert(sizeof(BlockIq4Nl) == 18);

inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline void decode_block(const BlockIq4Nl& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4Values[block.qs[i] & 15]);
    out[i + 16] = d * static_cast<float>(kIq4Values[block.qs[i] >> 4]);
  }
}

/// The uneven values as levels for the search of fit.h.
struct Iq4Levels {
  static constexpr float kEnds[2] = {-127.0f, 113.0f};
  static constexpr float kStep = 1.5f;
  /// Half way from value k to the next.
  static constexpr float middle(int k) { return 0.5f * static_cast<float>(kIq4Values[k] + kIq4Values[k + 1]); }
  /// The index of the value nearest to `value`; of two, the lower.
  static int index(float value) {
    int below = 0;
    for (int k = 0; k < 15; ++k) below += value > middle(k) ? 1 : 0;
    return below;
  }
  [[gnu::always_inline]] static Lanes nearest(const Lanes& value) {
    Lanes found = Lanes{} + static_cast<float>(kIq4Values[0]);
    for (int k = 0; k < 15; ++k) {
      const Lanes step = Lanes{} + static_cast<float>(kIq4Values[k + 1] - kIq4Values[k]);
      found += value > middle(k) ? step : Lanes{};
    }
    return found;
  }
  static uint8_t code(float value) { return static_cast<uint8_t>(index(value)); }
  static float value(uint8_t code) { return static_cast<float>(kIq4Values[code]); }
};

/// The scales by which codes become numbers (grid.h).
inline void block_scales(const BlockIq4Nl& block, BlockScales& out) {
  out.scales[0] = half_to_float(block.d);
}

/// Replaces the codes, of 4 bits each.
inline void set_codes(BlockIq4Nl& block, const uint8_t* codes) {
  for (int i = 0; i < 16; ++i) block.qs[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

/// Least squares over the scale (fit.h).
template <typename Weights = EvenWeights>
void encode_block(const float* in, BlockIq4Nl& block, Weights weights = {}) {
  block.d = float_to_half(fit_scale<32, Iq4Levels>(in, weights));
  const float inverse = reciprocal_or_zero(half_to_float(block.d));
  for (int i = 0; i < 16; ++i) {
    block.qs[i] = static_cast<uint8_t>(Iq4Levels::index(in[i] * inverse) | Iq4Levels::index(in[i + 16] * inverse) << 4);
  }
}

}  // namespace lamina::codec

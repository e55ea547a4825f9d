#pragma once

#include <bit>

#include "codec/block.h"
#include "codec/grids.h"

namespace lamina::codec {

/// The values that a point of the iq2, iq3_xxs and iq3_s grids is made of.
inline constexpr float kIq2Values[4] = {8.0f, 25.0f, 43.0f, 0.0f};
inline constexpr float kIq3XxsValues[8] = {4.0f, 12.0f, 20.0f, 28.0f, 36.0f, 44.0f, 52.0f, 62.0f};
inline constexpr float kIq3SValues[8] = {1.0f, 3.0f, 5.0f, 7.0f, 9.0f, 11.0f, 13.0f, 15.0f};

/// Eight signs from seven bits: the number of minus signs is even.
inline uint32_t even_signs(uint32_t seven_bits) {
  return seven_bits | static_cast<uint32_t>(std::popcount(seven_bits) & 1) << 7;
}

/// Writes scale * value * sign for the eight elements of a point; bit i of `signs` is set for minus.
inline void decode_point8(float scale, uint32_t point, uint32_t signs, float* out) {
  for (uint32_t i = 0; i < 8; ++i) {
    out[i] = scale * kIq2Values[point >> (2 * i) & 3u] * ((signs >> i & 1u) != 0 ? -1.0f : 1.0f);
  }
}

/// The same for two points of four elements each.
inline void decode_points4(float scale, const float* values, uint32_t first, uint32_t second, uint32_t signs,
                           float* out) {
  const uint32_t both = first | second << 16;
  for (uint32_t i = 0; i < 8; ++i) {
    out[i] = scale * values[both >> (4 * i) & 7u] * ((signs >> i & 1u) != 0 ? -1.0f : 1.0f);
  }
}

/// Writes scale * (value + delta), values -1, 0 and 1, for the eight elements of a point of iq1_s and iq1_m.
inline void decode_point1(float scale, uint32_t point, float delta, float* out) {
  for (uint32_t i = 0; i < 8; ++i) {
    out[i] = scale * (static_cast<float>(static_cast<int>(point >> (2 * i) & 3u) - 1) + delta);
  }
}

}  // namespace lamina::codec

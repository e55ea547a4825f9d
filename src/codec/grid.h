#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/codec.h"

namespace lamina::codec {

/// How the scales of one block make numbers of codes: number i is scales[i / group] * value(code) + offsets[i / group].
/// Formats whose blocks carry their own values say them in `book`.
struct BlockScales {
  static constexpr int kMostGroups = 16;
  static constexpr int kMostValues = 4;
  int group = 32;
  std::array<float, kMostGroups> scales{};
  std::array<float, kMostGroups> offsets{};
  std::array<float, kMostValues> book{};
};

/// Numbers of several blocks at one place, each with the scale and offset of its own block.
struct GridColumn {
  int count = 0;
  const float* wanted = nullptr;
  const float* scales = nullptr;
  const float* offsets = nullptr;
  const float* book = nullptr;  ///< [kMostValues, count]
};

/// The numbers that blocks of a format can hold once their scales are chosen, for encoders that choose code by code.
struct Grid {
  /// The scales of an encoded block.
  void (*scales)(const std::byte* block, BlockScales& out) = nullptr;
  /// The code whose number is nearest to each wanted one, and that number, bit for bit as the codec decodes it.
  void (*round)(const GridColumn& column, uint8_t* codes, float* numbers) = nullptr;
  /// Replaces the codes of an encoded block, one for each of its numbers; its scales stay.
  void (*set_codes)(std::byte* block, const uint8_t* codes) = nullptr;
};

/// The grid of a format, or null: floats have no scales, points of lattices no codes of their own.
const Grid* find_grid(const Codec& codec);

}  // namespace lamina::codec

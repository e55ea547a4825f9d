#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/iq2_s.h"
#include "codec/iq2_xs.h"
#include "codec/iq2_xxs.h"
#include "codec/iq3_s.h"
#include "codec/iq3_xxs.h"

/// Formats whose weights are points of a grid: an index stands for four or eight magnitudes, signs lie apart. Inside
/// the folder only.
namespace lamina::kernels {

/// Added to the signed numbers of points where they are kept unsigned.
inline constexpr int kPointZero = 64;

/// How a format's panels name their points: the lower eight bits of each index, then bits above them, then the signs.
struct PointGrid {
  int64_t weights = 0;               ///< per point: 4 or 8
  int64_t high = 0;                  ///< bits of an index above eight
  const uint32_t* values = nullptr;  ///< [points][weights / 4], four magnitudes each

  int64_t points() const { return 256 / weights; }
};

/// A block of a file: indices, signs (bit i of byte i / 8) and the 4-bit scales of 32 or 16 weights.
struct PointBlock {
  std::array<uint16_t, 64> index{};
  std::array<uint8_t, 32> signs{};
  std::array<uint8_t, 16> scale{};
};

/// Grids written out, one byte per magnitude.
template <size_t kPoints>
constexpr std::array<uint32_t, kPoints> expand_fours(const uint16_t (&grid)[kPoints], const float (&values)[8]) {
  std::array<uint32_t, kPoints> all{};
  for (size_t p = 0; p < kPoints; ++p) {
    for (uint32_t i = 0; i < 4; ++i) all[p] |= static_cast<uint32_t>(values[grid[p] >> (4 * i) & 7U]) << (8 * i);
  }
  return all;
}
template <size_t kPoints>
constexpr std::array<uint32_t, 2 * kPoints> expand_eights(const uint16_t (&grid)[kPoints]) {
  std::array<uint32_t, 2 * kPoints> all{};
  for (size_t p = 0; p < kPoints; ++p) {
    for (uint32_t i = 0; i < 8; ++i) {
      all[2 * p + i / 4] |= static_cast<uint32_t>(codec::kIq2Values[grid[p] >> (2 * i) & 3U]) << (i % 4 * 8);
    }
  }
  return all;
}
inline constexpr std::array kPointsIq3S = expand_fours(codec::kGridIq3S, codec::kIq3SValues);
inline constexpr std::array kPointsIq3Xxs = expand_fours(codec::kGridIq3Xxs, codec::kIq3XxsValues);
inline constexpr std::array kPointsIq2S = expand_eights(codec::kGridIq2S);
inline constexpr std::array kPointsIq2Xs = expand_eights(codec::kGridIq2Xs);
inline constexpr std::array kPointsIq2Xxs = expand_eights(codec::kGridIq2Xxs);

inline constexpr PointGrid kGridOfIq3S{4, 1, kPointsIq3S.data()};
inline constexpr PointGrid kGridOfIq3Xxs{4, 0, kPointsIq3Xxs.data()};
inline constexpr PointGrid kGridOfIq2S{8, 2, kPointsIq2S.data()};
inline constexpr PointGrid kGridOfIq2Xs{8, 1, kPointsIq2Xs.data()};
inline constexpr PointGrid kGridOfIq2Xxs{8, 0, kPointsIq2Xxs.data()};

/// Readers of a block in file layout.
void read_points_iq3_s(const std::byte* block, PointBlock& out);
void read_points_iq3_xxs(const std::byte* block, PointBlock& out);
void read_points_iq2_s(const std::byte* block, PointBlock& out);
void read_points_iq2_xs(const std::byte* block, PointBlock& out);
void read_points_iq2_xxs(const std::byte* block, PointBlock& out);

}  // namespace lamina::kernels

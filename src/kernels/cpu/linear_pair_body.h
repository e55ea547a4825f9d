#pragma once

#include "kernels/linear_driver.h"
#include "kernels/quantize.h"

/// bfloat16 weights and activations, a pair of inputs at a time, written once over `Unit`: kParts vectors per panel;
/// Weight and Input hold a pair of weights per lane and a pair of activations; dot(y, Weight, Input) adds the product
/// of the odd inputs, then that of the even ones, each rounded once. Included by each instruction set's file, hence
/// internal linkage.
namespace lamina::kernels {
namespace {

constexpr int64_t kPairBytes = 4 * kPanel;  // a pair of inputs of a panel

/// Adds the products of `pairs` pairs of inputs. Weights of neighbouring panels lie `step` bytes apart.
template <class Unit, int kCount, int kRows>
inline __attribute__((always_inline)) void pair_dots(const std::byte* w, int64_t step, const std::byte* x,
                                                     int64_t stride,
                                                     typename Unit::Vector (&y)[kRows][kCount * Unit::kParts]) {
  constexpr int kVectors = kCount * Unit::kParts;
  constexpr int64_t kLaneBytes = kPairBytes / Unit::kParts;
  typename Unit::Weight weight[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    weight[v] = Unit::weight(w + v / Unit::kParts * step + v % Unit::kParts * kLaneBytes);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const auto input = Unit::input(x + r * stride);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) y[r][v] = Unit::dot(y[r][v], weight[v], input);
  }
}

template <class Unit, int kCount, int kRows>
void pair_tile(const Tile& tile, int64_t panel_bytes) {
  constexpr int kWidth = kCount * static_cast<int>(kPanel);
  constexpr int kVectors = kCount * Unit::kParts;
  constexpr int kLanes = static_cast<int>(kPanel) / Unit::kParts;
  typename Unit::Vector y[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      y[r][v] = tile.begin == 0 ? Unit::zero() : Unit::load(tile.sums + r * kWidth + kLanes * v);
    }
  }
  const std::byte* x = tile.activations + 2 * tile.begin;
  const std::byte* w = tile.weights;
  for (int64_t left = tile.length; left > 0; left -= 2) {
    pair_dots<Unit, kCount, kRows>(w, panel_bytes, x, tile.activation_bytes, y);
    x += 4;
    w += kPairBytes;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) Unit::store(tile.sums + r * kWidth + kLanes * v, y[r][v]);
  }
}

/// A few rows straight from the packed panels.
template <class Unit, int kCount, int kRows>
void pair_few(const LinearArgs& args, int64_t panel, int64_t first_row) {
  constexpr int kVectors = kCount * Unit::kParts;
  constexpr int64_t kLanes = kPanel / Unit::kParts;
  const int64_t stride = bf16_row_bytes(args.layout->inputs);
  const int64_t step = args.layout->panel_bytes;
  const std::byte* w = args.packed + panel * step;
  const std::byte* x = args.activations + first_row * stride;
  typename Unit::Vector y[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) y[r][v] = Unit::zero();
  }
  for (int64_t left = args.layout->inputs; left > 0; left -= 2) {
#pragma GCC unroll 2
    for (int p = 0; p < kCount; ++p) prefetch_ahead(w + p * step, 64);
    pair_dots<Unit, kCount, kRows>(w, step, x, stride, y);
    x += 4;
    w += kPairBytes;
  }
  alignas(64) float sums[kRows * kCount * kPanel];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) Unit::store(sums + r * kCount * kPanel + v * kLanes, y[r][v]);
  }
  finish_rows(args, panel, kCount, first_row, kRows, sums);
}

/// Chunks of 128 inputs are copied side by side, so that the panels of one tile share the first cache level.
template <class Unit>
struct PairKernel {
  static constexpr int64_t kPanels = Unit::kTilePanels;
  static constexpr int64_t kRows = Unit::kTileRows;
  static constexpr int64_t kFew = Unit::kTileRows;
  static constexpr int64_t kFewPairs = 2;
  static constexpr int64_t kFewRows = 12;
  static constexpr int64_t kInputBytes = 2;
  static constexpr int64_t kInputs = 128;
  static constexpr int64_t kChunkBytes = kInputs / 2 * kPairBytes;

  static int64_t chunk(const WeightLayout&) { return kInputs; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kChunkBytes; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const int64_t begin = index * kChunkBytes;
    std::memcpy(out, packed + panel * layout.panel_bytes + begin,
                static_cast<size_t>(smaller(kChunkBytes, layout.panel_bytes - begin)));
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    pair_tile<Unit, kCount, kRowCount>(tile, kChunkBytes);
  }
  template <int kCount, int kRowCount>
  static void few(const LinearArgs& args, int64_t panel, int64_t first_row) {
    pair_few<Unit, kCount, kRowCount>(args, panel, first_row);
  }
};

template <class Unit>
constexpr LinearVariant pair_row(core::Isa isa) {
  return {"bf16", isa, InputForm::kBf16, run_rows<PairKernel<Unit>>, tiled_scratch_bytes<PairKernel<Unit>>};
}

}  // namespace
}  // namespace lamina::kernels

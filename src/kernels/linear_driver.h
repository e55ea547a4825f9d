#pragma once

#include <utility>

#include "kernels/linear_format.h"
#include "kernels/quantize.h"

/// The loops around a register tile, shared by all many-row kernels. Everything here has internal linkage: each
/// including file is compiled for its own instruction set, and no copy may leak into another's.
namespace lamina::kernels {
namespace {

/// Rows whose partial sums stay in scratch together.
constexpr int64_t kRowBlock = 512;

inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/// Asks for `bytes` of `rows` rows that the next tile reads.
inline void prefetch_rows(const std::byte* from, int64_t stride, int64_t rows, int64_t bytes) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(from + r * stride + line);
  }
}

/// Asks for the packed bytes that will be read 8 KB later. Panels are read in ascending order, but the planes inside a
/// chunk interleave, which hardware prefetchers lose track of: without this, formats of three planes ran at a third of
/// the bandwidth.
inline void prefetch_ahead(const std::byte* from, int64_t bytes) {
  constexpr int64_t kAhead = 8192;
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(from + kAhead + line);
}

/// One register tile: `rows` activation rows against one chunk of some panels.
struct Tile {
  const std::byte* activations = nullptr;  ///< the first row, at input 0
  int64_t activation_bytes = 0;            ///< from row to row
  const std::byte* weights = nullptr;      ///< what unpack() wrote
  int64_t inputs = 0;                      ///< of the whole matrix
  int64_t begin = 0;                       ///< first input of the chunk
  int64_t length = 0;                      ///< inputs of the chunk
  float* sums = nullptr;                   ///< [rows][panels * 16], read unless begin is 0
};

/// Adds bias and residual and writes the real outputs of `count` neighbouring panels. Where inputs are left out, -0
/// becomes 0 first: a sum with zeros in their place may be either.
inline void finish_rows(const LinearArgs& args, int64_t panel, int64_t count, int64_t first_row, int64_t rows,
                        const float* sums) {
  const int64_t begin = panel * kPanel;
  const int64_t width = count * kPanel;
  const int64_t real = smaller(width, args.layout->outputs - begin);
  const bool largest = args.layout->activation == InputForm::kLargest;
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = sums + r * width;
    float* to = args.y + (first_row + r) * args.y_stride + begin;
    if (args.bias == nullptr && !args.accumulate && !largest) {
      for (int64_t o = 0; o < real; ++o) to[o] = from[o];
    } else {
      for (int64_t o = 0; o < real; ++o) {
        const float sum = largest ? from[o] + 0.0F : from[o];
        const float value = args.bias != nullptr ? sum + args.bias[begin + o] : sum;
        to[o] = args.accumulate ? to[o] + value : value;
      }
    }
  }
}

/// A kernel that runs over register tiles has
///   kPanels, kRows: panels and rows of a tile; tile<panels, rows>(Tile), all rows up to kRows, kPanels or 1 panels;
///   chunk(layout): inputs per chunk; unpacked_bytes(layout) of a chunk and panel;
///   unpack(layout, packed, panel, chunk index, out), once for all rows of a block;
///   kInputBytes: bytes of one input of a row of activations.
template <class Kernel, int kCount, int... kLess>
void tile_rows(int64_t rows, const Tile& tile, std::integer_sequence<int, kLess...> /*rows*/) {
  using Function = void (*)(const Tile&);
  static constexpr Function kTable[] = {Kernel::template tile<kCount, kLess + 1>...};
  kTable[rows - 1](tile);
}

template <class Kernel>
int64_t tiled_scratch_bytes(const WeightLayout& layout, int64_t rows) {
  const int64_t sums = smaller(rows, kRowBlock) * Kernel::kPanels * kPanel * static_cast<int64_t>(sizeof(float));
  return (sums + 63) / 64 * 64 + Kernel::kPanels * Kernel::unpacked_bytes(layout);
}

template <class Kernel>
void tiled_group(const LinearArgs& args, int64_t panel, int64_t count, int64_t first_row, int64_t rows) {
  const WeightLayout& layout = *args.layout;
  const int64_t activation_bytes = activation_layout(layout).row_bytes;
  const int64_t step = Kernel::chunk(layout);
  auto* sums = reinterpret_cast<float*>(args.scratch);
  std::byte* weights = args.scratch + (rows * count * kPanel * 4 + 63) / 64 * 64;
  Tile tile;
  tile.activation_bytes = activation_bytes;
  tile.weights = weights;
  tile.inputs = layout.inputs;
  constexpr std::make_integer_sequence<int, Kernel::kRows> kAllRows;
  for (int64_t begin = 0; begin < layout.inputs; begin += step) {
    for (int64_t p = 0; p < count; ++p) {
      const int64_t at = (panel + p) * layout.panel_bytes + begin * layout.panel_bytes / layout.inputs;
      prefetch_ahead(args.packed + at, step * layout.panel_bytes / layout.inputs);
      Kernel::unpack(layout, args.packed, panel + p, begin / step, weights + p * Kernel::unpacked_bytes(layout));
    }
    tile.begin = begin;
    tile.length = smaller(step, layout.inputs - begin);
    for (int64_t r = 0; r < rows; r += Kernel::kRows) {
      tile.activations = args.activations + (first_row + r) * activation_bytes;
      tile.sums = sums + r * count * kPanel;
      prefetch_rows(tile.activations + Kernel::kRows * activation_bytes + begin * Kernel::kInputBytes, activation_bytes,
                    smaller(Kernel::kRows, rows - r - Kernel::kRows), tile.length * Kernel::kInputBytes);
      const int64_t now = smaller(Kernel::kRows, rows - r);
      count == 1 ? tile_rows<Kernel, 1>(now, tile, kAllRows) : tile_rows<Kernel, Kernel::kPanels>(now, tile, kAllRows);
    }
  }
  finish_rows(args, panel, count, first_row, rows, sums);
}

template <class Kernel>
void run_tiled(const LinearArgs& args) {
  for (int64_t first = 0; first < args.rows; first += kRowBlock) {
    const int64_t rows = smaller(kRowBlock, args.rows - first);
    for (int64_t panel = args.panel_begin; panel < args.panel_end;) {
      const int64_t count = args.panel_end - panel >= Kernel::kPanels ? Kernel::kPanels : 1;
      tiled_group<Kernel>(args, panel, count, first, rows);
      panel += count;
    }
  }
}

template <class Kernel, int kCount, int... kLess>
void few_rows(const LinearArgs& args, int64_t panel, int64_t first, int64_t rows,
              std::integer_sequence<int, kLess...> /*rows*/) {
  using Function = void (*)(const LinearArgs&, int64_t, int64_t);
  static constexpr Function kTable[] = {Kernel::template few<kCount, kLess + 1>...};
  kTable[rows - 1](args, panel, first);
}

/// As run_tiled, but up to kFewRows rows are computed straight from the packed panels, since unpacking to memory does
/// not pay for them: few<panels, rows>(args, panel, first row), rows up to kFew, and up to kFewPairs two panels at
/// once.
template <class Kernel>
void run_rows(const LinearArgs& args) {
  if (args.rows > Kernel::kFewRows) return run_tiled<Kernel>(args);
  constexpr std::make_integer_sequence<int, Kernel::kFew> kSingles;
  for (int64_t panel = args.panel_begin; panel < args.panel_end;) {
    const bool pair = args.rows <= Kernel::kFewPairs && panel + 2 <= args.panel_end;
    if constexpr (Kernel::kFewPairs > 0) {
      constexpr std::make_integer_sequence<int, Kernel::kFewPairs> kPairs;
      if (pair) few_rows<Kernel, 2>(args, panel, 0, args.rows, kPairs);
    }
    for (int64_t first = 0; !pair && first < args.rows; first += Kernel::kFew) {
      few_rows<Kernel, 1>(args, panel, first, smaller(Kernel::kFew, args.rows - first), kSingles);
    }
    panel += pair ? 2 : 1;
  }
}

}  // namespace
}  // namespace lamina::kernels

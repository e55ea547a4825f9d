#pragma once

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

/// Adds bias and residual and writes the real outputs of `count` neighbouring panels.
inline void finish_rows(const LinearArgs& args, int64_t panel, int64_t count, int64_t first_row, int64_t rows,
                        const float* sums) {
  const int64_t begin = panel * kPanel;
  const int64_t width = count * kPanel;
  const int64_t real = smaller(width, args.layout->outputs - begin);
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = sums + r * width;
    float* to = args.y + (first_row + r) * args.y_stride + begin;
    if (args.bias == nullptr && !args.accumulate) {
      for (int64_t o = 0; o < real; ++o) to[o] = from[o];
    } else {
      for (int64_t o = 0; o < real; ++o) {
        const float value = args.bias != nullptr ? from[o] + args.bias[begin + o] : from[o];
        to[o] = args.accumulate ? to[o] + value : value;
      }
    }
  }
}

/// A kernel computes few rows straight from the packed panels, and many by unpacking chunks of some panels once for all
/// rows of a block. kFewRows: up to how many rows unpacking does not pay; kFew, kFewPanels: rows and panels of one pass
/// then; few(args, panel, panels, first row, rows). kPanels, kRows: the register tile; chunk(layout): inputs per chunk;
/// unpacked_bytes(layout) per chunk and panel; unpack(layout, packed, panel, chunk index, out); tile(panels, rows,
/// Tile); kInputBytes: bytes of one input of a row of activations.
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
      Kernel::tile(count, smaller(Kernel::kRows, rows - r), tile);
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

template <class Kernel>
void run_rows(const LinearArgs& args) {
  if (args.rows > Kernel::kFewRows) return run_tiled<Kernel>(args);
  for (int64_t panel = args.panel_begin; panel < args.panel_end; panel += Kernel::kFewPanels) {
    const int64_t panels = smaller(Kernel::kFewPanels, args.panel_end - panel);
    for (int64_t first = 0; first < args.rows; first += Kernel::kFew) {
      Kernel::few(args, panel, panels, first, smaller(Kernel::kFew, args.rows - first));
    }
  }
}

}  // namespace
}  // namespace lamina::kernels

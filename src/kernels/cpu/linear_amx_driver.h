#pragma once

#include <utility>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/linear_driver.h"

/// The loops around tile registers, shared by all AMX kernels. Loading a tile takes longer than multiplying two, so
/// kernels keep what they can in tiles and in the first cache: four unpacked panels of a chunk stay there while the
/// rows pass by, two tiles of rows at a time. Internal linkage, as in linear_driver.h.
namespace lamina::kernels {
namespace {

constexpr int64_t kTilePanels = 4;
constexpr int64_t kMostTileRows = 16;
constexpr int64_t kTileBytes = 1024;
/// Products of a step: two sets of four tiles, so that one is summed up while the next is made.
constexpr int64_t kProductBytes = 8 * kTileBytes;

/// Calls f(0), ..., f(kCount - 1) with constants: names of tiles are part of an instruction.
template <int kCount, class Function>
inline __attribute__((always_inline)) void unrolled(Function&& f) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    (f(std::integral_constant<int, kIndex>{}), ...);
  }(std::make_integer_sequence<int, kCount>{});
}

/// Rows cut into tiles of one height, so that one configuration serves a call. The last tile may begin among the rows
/// of the one before: those are computed twice, the same way, and written once.
struct RowTiles {
  int64_t rows = 0;
  int64_t count = 0;
  int64_t height = 0;

  static RowTiles of(int64_t rows) {
    const int64_t least = (rows + kMostTileRows - 1) / kMostTileRows;
    const int64_t height = (rows + least - 1) / least;
    return {rows, (rows + height - 1) / height, height};
  }
  int64_t first(int64_t tile) const { return smaller(tile * height, rows - height); }
};

/// Tiles [0, weights) hold rows of `inputs` bytes, [weights, products) weights, the others their products.
inline TileConfig product_tiles(int weights, int products, int64_t height, int64_t inputs) {
  TileConfig config;
  config.shape(0, weights, height, inputs);
  config.shape(weights, products, inputs / 4, 64);
  config.shape(products, kTiles, height, 64);
  return config;
}

/// One or two neighbouring tiles of rows against one chunk of some panels.
struct TileTask {
  const std::byte* activations[2] = {};  ///< each tile's first row, at input 0
  int64_t activation_bytes = 0;          ///< from row to row
  int64_t height = 0;                    ///< rows of a tile
  const std::byte* weights = nullptr;    ///< what unpack() wrote
  int64_t panels = 0;                    ///< at most kTilePanels
  int64_t inputs = 0;                    ///< of the whole matrix
  int64_t begin = 0;                     ///< first input of the chunk
  int64_t length = 0;                    ///< inputs of the chunk
  float* sums = nullptr;                 ///< [tiles * height][panels * 16], read unless begin is 0
  std::byte* products = nullptr;         ///< kProductBytes
};

/// Kernel: Tiles; kUnpackedBytes of a chunk and panel; config(height); unpack(layout, packed, panel, chunk, out);
/// multiply<tiles of rows>(TileTask). Chunks are kChunk inputs.
template <class Kernel>
int64_t tiles_scratch_bytes(const WeightLayout& /*layout*/, int64_t rows) {
  const int64_t tile_rows = smaller(rows, kRowBlock) + kMostTileRows - 1;
  const int64_t sums = tile_rows * kTilePanels * kPanel * static_cast<int64_t>(sizeof(float));
  return kProductBytes + kTilePanels * Kernel::kUnpackedBytes + sums;
}

template <class Kernel>
void multiply_chunk(TileTask& task, const LinearArgs& args, int64_t first_row, const RowTiles& tiles, float* sums) {
  for (int64_t t = 0; t < tiles.count; t += 2) {
    for (int64_t i = 0; i < smaller(2, tiles.count - t); ++i) {
      task.activations[i] = args.activations + (first_row + tiles.first(t + i)) * task.activation_bytes;
    }
    task.sums = sums + t * tiles.height * task.panels * kPanel;
    if (tiles.count - t >= 2) {
      Kernel::template multiply<2>(task);
    } else {
      Kernel::template multiply<1>(task);
    }
  }
}

template <class Kernel>
void multiply_panels(const LinearArgs& args, int64_t panel, int64_t count, int64_t first_row, const RowTiles& tiles) {
  const WeightLayout& layout = *args.layout;
  std::byte* weights = args.scratch + kProductBytes;
  auto* sums = reinterpret_cast<float*>(weights + kTilePanels * Kernel::kUnpackedBytes);
  TileTask task;
  task.activation_bytes = activation_layout(layout).row_bytes;
  task.height = tiles.height;
  task.weights = weights;
  task.panels = count;
  task.inputs = layout.inputs;
  task.products = args.scratch;
  for (int64_t begin = 0; begin < layout.inputs; begin += kChunk) {
    task.begin = begin;
    task.length = smaller(kChunk, layout.inputs - begin);
    const int64_t packed_bytes = task.length * layout.panel_bytes / layout.inputs;
    for (int64_t p = 0; p < count; ++p) {
      const int64_t at = (panel + p) * layout.panel_bytes + begin * layout.panel_bytes / layout.inputs;
      prefetch_ahead(args.packed + at, packed_bytes);
      Kernel::unpack(layout, args.packed, panel + p, begin / kChunk, weights + p * Kernel::kUnpackedBytes);
    }
    multiply_chunk<Kernel>(task, args, first_row, tiles, sums);
  }
  const int64_t whole = (tiles.count - 1) * tiles.height;
  const int64_t again = tiles.count * tiles.height - tiles.rows;
  finish_rows(args, panel, count, first_row, whole, sums);
  finish_rows(args, panel, count, first_row + whole, tiles.height - again, sums + (whole + again) * count * kPanel);
}

/// Tiles are configured and released in every call: a thread owes nothing to an earlier one, and the system need not
/// save the registers of a thread that sleeps.
template <class Kernel>
void run_tiles(const LinearArgs& args) {
  for (int64_t first = 0; first < args.rows; first += kRowBlock) {
    const RowTiles tiles = RowTiles::of(smaller(kRowBlock, args.rows - first));
    Kernel::Tiles::configure(Kernel::config(tiles.height));
    for (int64_t panel = args.panel_begin; panel < args.panel_end;) {
      const int64_t left = args.panel_end - panel;
      const int64_t groups = (left + kTilePanels - 1) / kTilePanels;
      const int64_t count = (left + groups - 1) / groups;
      multiply_panels<Kernel>(args, panel, count, first, tiles);
      panel += count;
    }
  }
  Kernel::Tiles::release();
}

}  // namespace
}  // namespace lamina::kernels

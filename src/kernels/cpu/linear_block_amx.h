#pragma once

#include "kernels/cpu/linear_amx_driver.h"
#include "kernels/cpu/linear_block_avx512.h"

/// Block formats on tiles: every 32 inputs have a scale, so a product of tiles spans 32 and goes to memory, where
/// vector instructions scale it and add it up. Tiles of activations stay in registers while the panels pass.
namespace lamina::kernels {
namespace {

template <class TileSet, class Codec>
struct BlockTiles {
  using Tiles = TileSet;
  static constexpr int64_t kUnpackedBytes = kUnpacked;
  static constexpr int kWeights = 4;   ///< tiles 0 to 3 hold activations
  static constexpr int kProducts = 5;  ///< 5, 6 and 7 take turns
  static constexpr int kTurns = 3;

  static TileConfig config(int64_t height) { return product_tiles(kWeights, kProducts, height, 32); }

  /// Signed bytes [block][8][16][4], scales, minimums.
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    constexpr char kZero = Codec::kMinimum ? 0 : static_cast<char>(128 >> Codec::kShift);
    unpack_blocks<Codec, static_cast<char>(-kZero)>(layout, packed, panel, index, out);
  }

  /// What a step of kBlocksNow blocks of one panel needs: block and panel, and where its products lie.
  struct Step {
    int64_t block = 0;
    int64_t panel = 0;
    std::byte* products = nullptr;
  };

  /// Four tiles of activations: blocks side by side for one tile of rows, or two blocks for two.
  template <int kRowTiles>
  static constexpr int kBlocksAtOnce = 4 / kRowTiles;

  template <int kRowTiles>
  static void multiply(const TileTask& task) {
    constexpr int kStride = kBlocksAtOnce<kRowTiles>;
    for (int64_t b = 0; b < task.length / 32; b += kStride) {
      const int64_t now = smaller(kStride, task.length / 32 - b);
      unrolled<kStride>([&](auto less) {
        if (now == less + 1) multiply_blocks<kRowTiles, less + 1>(task, b);
      });
    }
  }

  /// Panel by panel; the products of one are summed up while the next are made.
  template <int kRowTiles, int kNow>
  static void multiply_blocks(const TileTask& task, int64_t block) {
    unrolled<kRowTiles * kNow>([&](auto item) {
      constexpr int kRow = item / kNow;
      const std::byte* from = task.activations[kRow] + task.begin + 32 * (block + item % kNow);
      Tiles::template load<item>(from, task.activation_bytes);
    });
    Step step{block, 0, task.products};
    make_products<kRowTiles, kNow>(task, step);
    while (step.panel + 1 < task.panels) {
      const Step next{block, step.panel + 1, task.products + (step.panel + 1) % 2 * (kProductBytes / 2)};
      make_products<kRowTiles, kNow>(task, next);
      add_products<kRowTiles, kNow>(task, step);
      step = next;
    }
    add_products<kRowTiles, kNow>(task, step);
  }

  /// A product is stored two products later, when the unit has finished it.
  template <int kRowTiles, int kNow>
  static void make_products(const TileTask& task, const Step& step) {
    constexpr int kCount = kRowTiles * kNow;
    const std::byte* weights = task.weights + step.panel * kUnpacked + 512 * step.block;
    unrolled<kCount + 2>([&](auto item) {
      if constexpr (item < kCount) {
        constexpr int kBlock = item / kRowTiles;
        constexpr int kRow = item % kRowTiles;
        constexpr int kTile = kProducts + item % kTurns;
        if constexpr (kRow == 0) Tiles::template load<kWeights>(weights + 512 * kBlock, 64);
        Tiles::template zero<kTile>();
        Tiles::template dot_signed<kTile, kRow * kNow + kBlock, kWeights>();
      }
      if constexpr (item >= 2) {
        Tiles::template store<kProducts + (item - 2) % kTurns>(step.products + (item - 2) * kTileBytes, 64);
      }
    });
  }

  template <int kRowTiles, int kNow>
  static void add_products(const TileTask& task, const Step& step) {
    const BlockRow row = BlockRow::of(task.inputs);
    const std::byte* unpacked = task.weights + step.panel * kUnpacked + 64 * step.block;
    const int64_t to_sum = row.sum - row.scale;
    const __mmask16 goes_on = task.begin + step.block == 0 ? 0 : 0xffff;
    __m512 d[kNow];
    __m512 m[kNow];
    for (int i = 0; i < kNow; ++i) {
      d[i] = _mm512_load_ps(unpacked + kScales + 64 * i);
      if (Codec::kMinimum) m[i] = _mm512_load_ps(unpacked + kMinimums + 64 * i);
    }
    for (int t = 0; t < kRowTiles; ++t) {
      const std::byte* scale = task.activations[t] + row.scale + task.begin / 8 + 4 * step.block;
      const std::byte* products = step.products + t * kTileBytes;
      float* sums = task.sums + (t * task.height * task.panels + step.panel) * kPanel;
      for (int64_t r = 0; r < task.height; ++r) {
        __m512 y = _mm512_maskz_load_ps(goes_on, sums);
        for (int i = 0; i < kNow; ++i) {
          const __m512i s = _mm512_load_si512(products + i * kRowTiles * kTileBytes);
          __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(s), d[i]);
          if constexpr (Codec::kMinimum) {
            product = _mm512_fmadd_ps(broadcast_float(scale + to_sum + 4 * i), m[i], product);
          }
          y = _mm512_fmadd_ps(product, broadcast_float(scale + 4 * i), y);
        }
        _mm512_store_ps(sums, y);
        scale += task.activation_bytes;
        products += 64;
        sums += task.panels * kPanel;
      }
    }
  }
};

}  // namespace
}  // namespace lamina::kernels

#pragma once

#include <cstddef>
#include <cstdint>

/// The tile registers of AMX. Tile kernels are templates over a set of operations like AmxTiles, so that tests run the
/// same kernels on a plain C++ set where the processor has no tiles.
namespace lamina::kernels {

inline constexpr int kTiles = 8;

/// What LDTILECFG reads: rows and bytes per row of every tile.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  /// Gives the tiles [begin, end) a shape: at most 16 rows of 64 bytes.
  void shape(int begin, int end, int64_t tile_rows, int64_t tile_row_bytes) {
    for (int tile = begin; tile < end; ++tile) {
      rows[tile] = static_cast<uint8_t>(tile_rows);
      row_bytes[tile] = static_cast<uint16_t>(tile_row_bytes);
    }
  }
};
static_assert(sizeof(TileConfig) == 64);

#if defined(__AMX_TILE__)
namespace {

/// The instructions themselves. GCC's own wrappers do not tell the compiler what memory they read.
struct AmxTiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  static void release() { asm volatile("tilerelease"); }
  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void load(const std::byte* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(std::byte* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  /// C[m][n] += sum over k of a[m][k] * b[k / 4][n][k % 4] in int32, bytes of a and b signed.
  template <int kC, int kA, int kB>
  static void dot_signed() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
  /// The same with bytes of a unsigned.
  template <int kC, int kA, int kB>
  static void dot_mixed() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
  /// C[m][n] += sum over k of a[m][k] * b[k / 2][n][k % 2] in float32, a and b bfloat16.
  template <int kC, int kA, int kB>
  static void dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
};

}  // namespace
#endif

}  // namespace lamina::kernels

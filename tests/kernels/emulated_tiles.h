#pragma once

#include <array>
#include <cstring>
#include <stdexcept>

#include "kernels/cpu/amx_tiles.h"

namespace lamina::kernels::testing {

/// AmxTiles in plain C++, one set per thread. What would fault on the processor throws.
class EmulatedTiles {
 public:
  static void configure(const TileConfig& config) {
    if (config.palette != 1 || config.start_row != 0) throw std::logic_error("palette 1 and start row 0 expected");
    for (size_t i = 0; i < 16; ++i) {
      const bool used = config.rows[i] != 0 || config.row_bytes[i] != 0;
      if (i >= kTiles && used) throw std::logic_error("there are 8 tiles");
      if (used && (config.rows[i] == 0 || config.row_bytes[i] == 0)) throw std::logic_error("half a shape");
      if (config.rows[i] > 16 || config.row_bytes[i] > 64) throw std::logic_error("a tile has 16 rows of 64 bytes");
    }
    state() = {.configured = true, .config = config, .tiles = {}};
  }
  static void release() { state() = {}; }

  template <int kTile>
  static void zero() {
    shape(kTile);
    state().tiles[kTile] = {};
  }
  template <int kTile>
  static void load(const std::byte* from, int64_t stride) {
    const Shape is = shape(kTile);
    Tile& tile = state().tiles[kTile] = {};
    for (int64_t r = 0; r < is.rows; ++r) {
      std::memcpy(&tile[static_cast<size_t>(64 * r)], from + r * stride, static_cast<size_t>(is.bytes));
    }
  }
  template <int kTile>
  static void store(std::byte* to, int64_t stride) {
    const Shape is = shape(kTile);
    const Tile& tile = state().tiles[kTile];
    for (int64_t r = 0; r < is.rows; ++r) {
      std::memcpy(to + r * stride, &tile[static_cast<size_t>(64 * r)], static_cast<size_t>(is.bytes));
    }
  }
  template <int kC, int kA, int kB>
  static void dot_signed() {
    dot<int8_t>(kC, kA, kB);
  }
  template <int kC, int kA, int kB>
  static void dot_mixed() {
    dot<uint8_t>(kC, kA, kB);
  }

 private:
  using Tile = std::array<std::byte, 1024>;
  struct Shape {
    int64_t rows = 0;
    int64_t bytes = 0;
  };
  struct State {
    bool configured = false;
    TileConfig config;
    std::array<Tile, kTiles> tiles{};
  };

  static State& state() {
    thread_local State state;
    return state;
  }
  static Shape shape(int tile) {
    const State& now = state();
    if (!now.configured) throw std::logic_error("tiles are not configured");
    const Shape is{now.config.rows[tile], now.config.row_bytes[tile]};
    if (is.rows == 0) throw std::logic_error("the tile has no shape");
    return is;
  }

  /// Sums wrap at 32 bits, as they do in the processor.
  template <typename Left>
  static void dot(int c, int a, int b) {
    const Shape sum = shape(c);
    const Shape left = shape(a);
    const Shape right = shape(b);
    if (c == a || c == b || a == b) throw std::logic_error("three different tiles expected");
    if (sum.rows != left.rows || sum.bytes != right.bytes || left.bytes != 4 * right.rows || left.bytes % 4 != 0) {
      throw std::logic_error("shapes do not fit");
    }
    const auto* x = reinterpret_cast<const Left*>(state().tiles[static_cast<size_t>(a)].data());
    const auto* w = reinterpret_cast<const int8_t*>(state().tiles[static_cast<size_t>(b)].data());
    std::byte* y = state().tiles[static_cast<size_t>(c)].data();
    for (int64_t m = 0; m < sum.rows; ++m) {
      std::array<uint32_t, 16> row;
      std::memcpy(row.data(), y + 64 * m, sizeof row);
      for (int64_t k = 0; k < left.bytes; ++k) {
        const int32_t factor = x[64 * m + k];
        for (int64_t n = 0; n < sum.bytes / 4; ++n) {
          row[static_cast<size_t>(n)] += static_cast<uint32_t>(factor * w[64 * (k / 4) + 4 * n + k % 4]);
        }
      }
      std::memcpy(y + 64 * m, row.data(), static_cast<size_t>(sum.bytes));
    }
  }
};

}  // namespace lamina::kernels::testing

#pragma once

#include "kernels/cpu/amx_tiles.h"
#include "kernels/peak.h"

/// The loops of TilePeak: tiles 0 and 1 times tiles 2 and 3 into tiles 4 to 7. `Unit` has Tiles, kInputs of a tile, and
/// dot<c, a, b>().
namespace lamina::kernels::cpu {
namespace {

template <class Unit>
constexpr int64_t kTileRoundOperations = 4 * 16 * 16 * Unit::kInputs * 2;

template <class Unit>
void start_tiles() {
  TileConfig config;
  config.shape(0, kTiles, 16, 64);
  Unit::Tiles::configure(config);
}

template <class Unit>
int64_t tile_registers(int64_t rounds) {
  start_tiles<Unit>();
  for (int64_t i = 0; i < rounds; ++i) {
    Unit::template dot<4, 0, 2>();
    Unit::template dot<5, 0, 3>();
    Unit::template dot<6, 1, 2>();
    Unit::template dot<7, 1, 3>();
  }
  Unit::Tiles::release();
  return rounds * kTileRoundOperations<Unit>;
}

template <class Unit>
int64_t tile_cached(int64_t rounds) {
  constexpr int64_t kTile = 1024;
  alignas(64) static constexpr std::byte kNumbers[8 * kTile] = {};
  start_tiles<Unit>();
  for (int64_t i = 0; i < rounds; ++i) {
    const std::byte* from = kNumbers + i % 2 * 4 * kTile;
    Unit::Tiles::template load<0>(from, 64);
    Unit::Tiles::template load<2>(from + kTile, 64);
    Unit::template dot<4, 0, 2>();
    Unit::Tiles::template load<3>(from + 2 * kTile, 64);
    Unit::template dot<5, 0, 3>();
    Unit::Tiles::template load<1>(from + 3 * kTile, 64);
    Unit::template dot<6, 1, 2>();
    Unit::template dot<7, 1, 3>();
  }
  Unit::Tiles::release();
  return rounds * kTileRoundOperations<Unit>;
}

template <class Unit>
constexpr TilePeak tile_row(core::Isa isa) {
  return {.isa = isa, .registers = tile_registers<Unit>, .cached = tile_cached<Unit>};
}

template <class TileSet>
struct Int8TileUnit {
  using Tiles = TileSet;
  static constexpr int64_t kInputs = 64;
  template <int kC, int kA, int kB>
  static void dot() {
    Tiles::template dot_signed<kC, kA, kB>();
  }
};

template <class TileSet>
struct Bf16TileUnit {
  using Tiles = TileSet;
  static constexpr int64_t kInputs = 32;
  template <int kC, int kA, int kB>
  static void dot() {
    Tiles::template dot_bf16<kC, kA, kB>();
  }
};

}  // namespace
}  // namespace lamina::kernels::cpu

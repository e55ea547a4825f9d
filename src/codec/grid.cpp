#include "codec/grid.h"

#include <cmath>
#include <cstring>

#include "codec/cb2.h"
#include "codec/iq4_nl.h"
#include "codec/iq4_xs.h"
#include "codec/mxfp4.h"
#include "codec/nvfp4.h"
#include "codec/q2_k.h"
#include "codec/q3_k.h"
#include "codec/q4_0.h"
#include "codec/q4_1.h"
#include "codec/q4_k.h"
#include "codec/q5_0.h"
#include "codec/q5_1.h"
#include "codec/q5_k.h"
#include "codec/q6_k.h"
#include "codec/q8_0.h"

namespace lamina::codec {

namespace {

template <typename Block>
void read_scales(const std::byte* bytes, BlockScales& out) {
  Block block;
  std::memcpy(&block, bytes, sizeof(block));
  out = {};
  block_scales(block, out);
}

template <typename Levels>
void round_column(const GridColumn& column, uint8_t* codes, float* numbers) {
  for (int i = 0; i < column.count; ++i) {
    const float scale = column.scales[i];
    const uint8_t code = Levels::code((column.wanted[i] - column.offsets[i]) * reciprocal_or_zero(scale));
    codes[i] = code;
    numbers[i] = scale * Levels::value(code) + column.offsets[i];
  }
}

/// Values of each block's own.
void round_to_books(const GridColumn& column, uint8_t* codes, float* numbers) {
  for (int i = 0; i < column.count; ++i) {
    const float wanted = column.wanted[i] * reciprocal_or_zero(column.scales[i]);
    int best = 0;
    for (int k = 1; k < BlockScales::kMostValues; ++k) {
      const float* value = column.book + i;
      if (std::fabs(wanted - value[k * column.count]) < std::fabs(wanted - value[best * column.count])) best = k;
    }
    codes[i] = static_cast<uint8_t>(best);
    numbers[i] = column.scales[i] * column.book[best * column.count + i];
  }
}

template <typename Block>
void write_codes(std::byte* bytes, const uint8_t* codes) {
  Block block;
  std::memcpy(&block, bytes, sizeof(block));
  set_codes(block, codes);
  std::memcpy(bytes, &block, sizeof(block));
}

struct Row {
  std::string_view name;
  Grid grid;
};

template <typename Block, typename Levels>
constexpr Row row(std::string_view name) {
  return {name, {read_scales<Block>, round_column<Levels>, write_codes<Block>}};
}

constexpr std::array kGrids{
    row<BlockQ8_0, WholeLevels<-127, 127>>("q8_0"),
    row<BlockQ6_K, WholeLevels<-32, 31>>("q6_k"),
    row<BlockQ5_K, WholeLevels<0, 31>>("q5_k"),
    row<BlockQ5_1, WholeLevels<0, 31>>("q5_1"),
    row<BlockQ5_0, WholeLevels<-16, 15>>("q5_0"),
    row<BlockQ4_K, WholeLevels<0, 15>>("q4_k"),
    row<BlockQ4_1, WholeLevels<0, 15>>("q4_1"),
    row<BlockQ4_0, WholeLevels<-8, 7>>("q4_0"),
    row<BlockQ3_K, WholeLevels<-4, 3>>("q3_k"),
    row<BlockQ2_K, WholeLevels<0, 3>>("q2_k"),
    row<BlockIq4Xs, Iq4Levels>("iq4_xs"),
    row<BlockIq4Nl, Iq4Levels>("iq4_nl"),
    row<BlockMxfp4, E2m1Levels>("mxfp4"),
    row<BlockNvfp4, E2m1Levels>("nvfp4"),
    Row{"cb2", {read_scales<BlockCb2>, round_to_books, write_codes<BlockCb2>}},
};

}  // namespace

const Grid* find_grid(const Codec& codec) {
  for (const Row& known : kGrids) {
    if (known.name == codec.format.name) return &known.grid;
  }
  return nullptr;
}

}  // namespace lamina::codec

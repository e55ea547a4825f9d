#pragma once

#include "kernels/cpu/attention_softmax.h"
#include "kernels/cpu/attention_tile.h"

/// ref/attention_q8.cpp in tiles: products of int16 (queries, probabilities) and int8 (keys, values), four of them in a
/// lane. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

/// Bytes of 16 lanes of four numbers each.
constexpr int64_t kQuadBytes = 64;

/// What both products have: sums[r][g] = the integer product of a[r] with lanes g, `count` times four numbers deep.
struct ByteTile {
  const int16_t* a = nullptr;  ///< [rows][a_step]
  int64_t a_step = 0;
  const std::byte* b = nullptr;
  int64_t b_step = 0;   ///< bytes from four numbers to the next four
  int64_t b_group = 0;  ///< bytes from one group of 16 lanes to the next
  int64_t count = 0;
  float* c = nullptr;  ///< [rows][c_step]
  int64_t c_step = 0;
  const float* factors = nullptr;     ///< of rows
  const float* decay = nullptr;       ///< values: of what is in c
  const std::byte* scales = nullptr;  ///< keys: [blocks][64] bfloat16
  const std::byte* next = nullptr;    ///< what is read a chunk later; null: nothing
};

template <typename L, int kRows, int kGroups>
[[gnu::always_inline]] inline void add_quads(ByteTile& tile, int64_t count, typename L::I (&sums)[kRows][kGroups]) {
  for (int64_t k = 0; k < count; ++k, tile.a += 4, tile.b += tile.b_step) {
    if (tile.next != nullptr) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) prefetch_line(tile.next + g * kLine);
      tile.next += kGroups * kLine;
    }
    typename L::I even[kGroups];
    typename L::I odd[kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const auto bytes = L::load_bytes(tile.b + g * tile.b_group);
      even[g] = L::even_bytes(bytes);
      odd[g] = L::odd_bytes(bytes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        sums[r][g] = L::dot(sums[r][g], L::all_pairs(tile.a + r * tile.a_step), even[g]);
        sums[r][g] = L::dot(sums[r][g], L::all_pairs(tile.a + r * tile.a_step + 2), odd[g]);
      }
    }
  }
}

/// c[r][16g..] = factors[r] * (sum over blocks of float(integer product) * scale).
template <typename L, int kRows, int kGroups>
void multiply_keys(const ByteTile& args) {
  ByteTile tile = args;
  typename L::V y[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) y[r][g] = L::zero();
  }
  for (int64_t left = tile.count; left > 0; left -= kKeyBlock / 4, tile.scales += kChunkKeys * 2) {
    typename L::I sums[kRows][kGroups];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) sums[r][g] = L::no_sum();
    }
    add_quads<L, kRows, kGroups>(tile, lesser(left, kKeyBlock / 4), sums);
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const auto scale = L::load_bf16(tile.scales + 32 * g);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) y[r][g] = L::fma(L::to_float(sums[r][g]), scale, y[r][g]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g)
      L::store(tile.c + r * tile.c_step + 16 * g, L::mul(y[r][g], L::all(tile.factors[r])));
  }
}

/// c[r][16g..] = float(integer product) * factors[r] + c[r][16g..] * decay[r].
template <typename L, int kRows, int kGroups>
void multiply_values(const ByteTile& args) {
  ByteTile tile = args;
  typename L::I sums[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) sums[r][g] = L::no_sum();
  }
  add_quads<L, kRows, kGroups>(tile, tile.count, sums);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      float* c = tile.c + r * tile.c_step + 16 * g;
      const auto scaled = L::mul(L::load(c), L::all(tile.decay[r]));
      L::store(c, L::fma(L::to_float(sums[r][g]), L::all(tile.factors[r]), scaled));
    }
  }
}

using ByteFunction = void (*)(const ByteTile& args);

/// Tiles of 1..kByteRows rows for one number of groups; those that do not fit the registers are null.
template <typename L, int kGroups>
struct ByteRow {
  template <bool kKeys, int kRows>
  static constexpr ByteFunction pick() {
    if constexpr (kRows > L::kByteRows || kGroups > L::byte_groups(kRows)) {
      return nullptr;
    } else {
      return kKeys ? multiply_keys<L, kRows, kGroups> : multiply_values<L, kRows, kGroups>;
    }
  }
  template <bool kKeys>
  static constexpr ByteFunction kFunctions[kBlockRows] = {pick<kKeys, 1>(), pick<kKeys, 2>(), pick<kKeys, 3>(),
                                                          pick<kKeys, 4>(), pick<kKeys, 5>(), pick<kKeys, 6>(),
                                                          pick<kKeys, 7>(), pick<kKeys, 8>()};
};

/// The product over `groups` groups of lanes for at most kByteRows rows.
template <typename L, bool kKeys>
void multiply_byte_groups(ByteTile tile, int rows, int64_t groups) {
  const int widest = L::byte_groups(rows);
  while (groups > 0) {
    int width = 1;
    ByteFunction function = ByteRow<L, 1>::template kFunctions<kKeys>[rows - 1];
    if (groups >= 4 && widest >= 4) {
      width = 4;
      function = ByteRow<L, 4>::template kFunctions<kKeys>[rows - 1];
    } else if (groups >= 2 && widest >= 2) {
      width = 2;
      function = ByteRow<L, 2>::template kFunctions<kKeys>[rows - 1];
    }
    function(tile);
    tile.b += width * tile.b_group;
    tile.c += 16 * width;
    if (kKeys) tile.scales += 32 * width;
    if (tile.next != nullptr) tile.next += tile.count * width * kLine;
    groups -= width;
  }
}

/// The same for all rows of a block.
template <typename L, bool kKeys>
void multiply_bytes(ByteTile tile, int rows, int64_t groups) {
  while (rows > 0) {
    const int some = rows < L::kByteRows ? rows : L::kByteRows;
    multiply_byte_groups<L, kKeys>(tile, some, groups);
    tile.a += some * tile.a_step;
    tile.c += some * tile.c_step;
    tile.factors += some;
    if (!kKeys) tile.decay += some;
    tile.next = nullptr;
    rows -= some;
  }
}

/// scores = q.k of the rows of a block with the groups of keys that some row sees.
template <typename L>
void score_q8_block(const Tile& tile, const Block& block, const ChunkView& view) {
  const int64_t head_size = tile.args->head_size;
  const int64_t group = block.any.begin / 16;
  ByteTile product;
  product.a_step = query_stride(head_size);
  product.a = tile.integers + block.first * product.a_step;
  product.factors = tile.query_scales + block.first;
  product.count = key_stride(head_size) / 4;
  product.b_step = kQuadBytes;
  product.b_group = product.count * kQuadBytes;
  product.b = view.keys + group * product.b_group;
  product.scales = view.keys + key_scale_offset(head_size) + group * 32;
  product.next = view.next_keys;
  product.c = tile.scores + block.first * kChunkKeys + group * 16;
  product.c_step = kChunkKeys;
  multiply_bytes<L, true>(product, block.rows, (block.any.end + 15) / 16 - group);
}

/// Probabilities times the scales of the keys, as int16 that sum to about kMost16; returns what one of them is worth.
template <typename L>
float weigh(const float* p, const float* scales, Keys keys, int16_t* out) {
  typename L::V weights[kChunkLanes];
  auto sums = L::zero();
#pragma GCC unroll 4
  for (int64_t g = 0; g < kChunkLanes; ++g) {
    const int64_t i = 16 * g;
    weights[g] = L::mul(L::load(p + i), L::load(scales + i));
    if (i < keys.begin || i + 16 > keys.end) weights[g] = L::keep(L::between(keys.begin - i, keys.end - i), weights[g]);
    sums = L::add(sums, weights[g]);
  }
  const float sum = L::fold(sums);
  if (!(sum >= kLeastScale)) {
    __builtin_memset(out, 0, kChunkKeys * sizeof(int16_t));
    return sum / kMost16;
  }
  const auto factor = L::all(kMost16 / sum);
#pragma GCC unroll 4
  for (int64_t g = 0; g < kChunkLanes; ++g) L::to_int16(L::mul(weights[g], factor), out + 16 * g);
  return sum / kMost16;
}

/// p.v of the rows of a block. Keys that a row does not see weigh 0, and integers have no NaN to spread.
template <typename L>
void add_q8_values(const Tile& tile, const Block& block, const ChunkView& view) {
  const int64_t value_size = tile.args->value_size;
  const int64_t first = block.any.begin / 4;
  ByteTile product;
  product.a_step = kChunkKeys;
  product.b_step = tile.stride * 4;
  product.b_group = kQuadBytes;
  product.b = view.values + first * product.b_step;
  product.count = (block.any.end + 3) / 4 - first;
  product.next = view.next_values;
  product.c = tile.states + block.first * tile.state_floats() + kStateHead;
  product.c_step = tile.state_floats();
  product.decay = block.decay;
  const std::byte* scales = view.values + value_scale_offset(value_size);
  for (int64_t done = 0; done < tile.stride; done += kValueBlock, scales += kChunkKeys * 2) {
    alignas(64) int16_t integers[kBlockRows * kChunkKeys];
    alignas(64) float wide[kChunkKeys];
    float factors[kBlockRows];
    for (int64_t i = 0; i < kChunkKeys; i += 16) L::store(wide + i, L::load_bf16(scales + 2 * i));
    for (int r = 0; r < block.rows; ++r) {
      const float* p = tile.scores + (block.first + r) * kChunkKeys;
      factors[r] = weigh<L>(p, wide, block.keys[r], integers + r * kChunkKeys);
    }
    product.a = integers + first * 4;
    product.factors = factors;
    const int64_t groups = lesser(kValueBlock, tile.stride - done) / 16;
    multiply_bytes<L, false>(product, block.rows, groups);
    product.b += groups * product.b_group;
    product.c += groups * 16;
    if (product.next != nullptr) product.next += product.count * groups * kLine;
  }
}

/// Products ask for the integers of the next chunk; this for its scales.
void prefetch_scales(const std::byte* next, int64_t offset, int64_t blocks) {
  for (int64_t at = 0; next != nullptr && at < blocks * kChunkKeys * 2; at += kLine) prefetch_line(next + offset + at);
}

template <typename L>
void add_q8_chunk(const Tile& tile, int64_t chunk, const ChunkView& view) {
  const int64_t head_size = tile.args->head_size;
  const int64_t value_size = tile.args->value_size;
  Block blocks[kMostBlocks];
  const int64_t count = list_blocks(tile, chunk, blocks);
  for (int64_t i = 0; i < count; ++i) score_q8_block<L>(tile, blocks[i], i == 0 ? view : view.alone());
  if (keep_scores<L>(tile, blocks, count)) return;
  for (int64_t i = 0; i < count; ++i) update_states<L>(tile, blocks[i]);
  for (int64_t i = 0; i < count; ++i) add_q8_values<L>(tile, blocks[i], i == 0 ? view : view.alone());
  prefetch_scales(view.next_keys, key_scale_offset(head_size), key_blocks(head_size));
  prefetch_scales(view.next_values, value_scale_offset(value_size), value_blocks(value_size));
}

/// Rows of a chunk of values, read back to float32.
template <typename L>
struct ByteRows {
  static constexpr int64_t kTogether = 4;
  const std::byte* chunk;
  const std::byte* scales;
  int64_t row_bytes;

  ByteRows(const std::byte* values, int64_t size)
      : chunk(values), scales(values + value_scale_offset(size)), row_bytes(value_stride(size) * 4) {}
  typename L::V load(int64_t index, int64_t dimension) const {
    uint16_t half;
    __builtin_memcpy(&half, scales + (dimension / kValueBlock * kChunkKeys + index) * 2, sizeof(half));
    const float scale = __builtin_bit_cast(float, static_cast<uint32_t>(half) << 16);
    const auto bytes = L::load_bytes(at(index, dimension));
    return L::mul(L::to_float(L::byte_of_lane(bytes, static_cast<int>(lane_place(index % 4)))), L::all(scale));
  }
  const std::byte* at(int64_t index, int64_t dimension) const { return chunk + index / 4 * row_bytes + dimension * 4; }
};

/// Quantizes a block of a row: writes number i to out[place(i)] and the scale's bfloat16 bits to `scale`.
template <typename L, typename Place>
void store_block(const float* x, int64_t count, Place place, std::byte* out, std::byte* scale) {
  const float amax = magnitude<L>(x, count);
  const bool finite = amax == amax;
  uint16_t bits = finite ? 0 : 0x7fc0;
  float factor = 0.0F;
  if (finite && amax >= 127.0F * kLeastScale) {
    bits = static_cast<uint16_t>((__builtin_bit_cast(uint32_t, amax / 127.0F) + 0xffffU) >> 16);
    factor = 1.0F / __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  }
  __builtin_memcpy(scale, &bits, sizeof(bits));
  for_lanes(count, [&](int64_t i, int64_t n) {
    int16_t q[16] = {};
    if (factor != 0.0F) L::to_int16(L::mul(load_some<L>(x + i, n), L::all(factor)), q);
    for (int64_t k = 0; k < n; ++k) out[place(i + k)] = static_cast<std::byte>(q[k]);
  });
}

template <typename L>
void store_key_q8(int64_t head_size, const float* key, std::byte* chunk, int64_t index) {
  std::byte* scales = chunk + key_scale_offset(head_size) + index * 2;
  for (int64_t d = 0; d < head_size; d += kKeyBlock, scales += kChunkKeys * 2) {
    const auto place = [&](int64_t i) { return key_byte(head_size, index, d + i); };
    store_block<L>(key + d, lesser(kKeyBlock, head_size - d), place, chunk, scales);
  }
  for (int64_t d = head_size; d < key_stride(head_size); ++d) chunk[key_byte(head_size, index, d)] = std::byte{0};
}

template <typename L>
void store_value_q8(int64_t value_size, const float* value, std::byte* chunk, int64_t index) {
  std::byte* scales = chunk + value_scale_offset(value_size) + index * 2;
  for (int64_t d = 0; d < value_size; d += kValueBlock, scales += kChunkKeys * 2) {
    const auto place = [&](int64_t i) { return value_byte(value_size, index, d + i); };
    store_block<L>(value + d, lesser(kValueBlock, value_size - d), place, chunk, scales);
  }
  for (int64_t d = value_size; d < value_stride(value_size); ++d)
    chunk[value_byte(value_size, index, d)] = std::byte{0};
}

}  // namespace
}  // namespace lamina::kernels::cpu

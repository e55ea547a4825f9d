#pragma once

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/loop_body.h"
#include "kernels/cpu/math_body.h"

/// ref/attention.cpp in tiles of rows. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();
constexpr int64_t kStateHead = 16;  ///< floats before the sums of a state: maximum, sum, padding

int64_t lesser(int64_t a, int64_t b) {
  return a < b ? a : b;
}
int64_t greater(int64_t a, int64_t b) {
  return a < b ? b : a;
}

/// Keys of a chunk, begin <= i < end.
struct Keys {
  int64_t begin;
  int64_t end;
  bool empty() const { return begin >= end; }
};

Keys visible(const AttentionRow& row, int64_t chunk) {
  return {greater(row.first_key - chunk * kChunkKeys, 0), lesser(row.last_key - chunk * kChunkKeys + 1, kChunkKeys)};
}

/// Up to kAttentionTileRows rows whose states are in work, and the parts of the scratch.
struct Tile {
  const AttentionArgs* args = nullptr;
  const AttentionRow* rows = nullptr;
  int64_t count = 0;
  int64_t stride = 0;        ///< of values
  int64_t whole_chunks = 0;  ///< up to the last key that some row sees
  Keys common{};             ///< absolute positions that all rows see
  float* queries = nullptr;
  float* keys = nullptr;
  float* values = nullptr;
  float* scores = nullptr;
  float* states = nullptr;   ///< of a segment
  float* running = nullptr;  ///< of the segments so far

  int64_t state_floats() const { return kStateHead + stride; }
  bool all_see(int64_t chunk) const {
    return common.begin <= chunk * kChunkKeys && (chunk + 1) * kChunkKeys <= common.end;
  }
};

Tile make_tile(const AttentionArgs& args, int64_t first_row) {
  Tile tile;
  tile.args = &args;
  tile.rows = args.row_list + first_row;
  tile.count = lesser(args.rows - first_row, kAttentionTileRows);
  tile.stride = value_stride(args.value_size);
  tile.queries = args.scratch;
  tile.keys = tile.queries + kAttentionTileRows * args.head_size;
  tile.values = tile.keys + kChunkKeys * args.head_size;
  tile.scores = tile.values + kChunkKeys * tile.stride;
  tile.states = tile.scores + kAttentionTileRows * kChunkKeys;
  tile.running = tile.states + kAttentionTileRows * tile.state_floats();
  tile.common = {0, INT64_MAX};
  for (int64_t i = 0; i < tile.count; ++i) {
    __builtin_memcpy(tile.queries + i * args.head_size, tile.rows[i].query,
                     static_cast<size_t>(args.head_size) * sizeof(float));
    const AttentionRow& row = tile.rows[i];
    tile.whole_chunks = greater(tile.whole_chunks, (row.last_key + 1) / kChunkKeys);
    tile.common = {greater(tile.common.begin, row.first_key), lesser(tile.common.end, row.last_key + 1)};
  }
  return tile;
}

void clear_states(float* states, int64_t count, int64_t floats) {
  for (int64_t i = 0; i < count; ++i) {
    __builtin_memset(states + i * floats, 0, static_cast<size_t>(floats) * sizeof(float));
    states[i * floats] = kMinusInfinity;
  }
}

/// A chunk as the tile reads it: in its own format, or converted to float32 once for many rows.
struct ChunkView {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  const std::byte* next_values = nullptr;  ///< to prefetch while keys are read
  const std::byte* next_keys = nullptr;    ///< to prefetch while values are read
};

/// The biases of the 16 keys from absolute position `key` on: beyond the reach all are the outermost one.
template <typename L>
typename L::V biases(const AttentionRow& row, int64_t reach, int64_t key) {
  return L::load(row.bias + lesser(greater(key - row.position, -reach - 15), reach) + reach + 15);
}

constexpr int64_t kChunkLanes = kChunkKeys / 16;

/// prepare_scores for a row that sees the whole chunk and has neither cap nor bias.
template <typename L>
float scale_scores(float scale, float* scores) {
  typename L::V s[kChunkLanes];
#pragma GCC unroll 4
  for (int64_t i = 0; i < kChunkLanes; ++i) {
    s[i] = L::mul(L::load(scores + 16 * i), L::all(scale));
    L::store(scores + 16 * i, s[i]);
  }
  return L::top(L::max(L::max(s[0], s[1]), L::max(s[2], s[3])));
}

/// Scales, caps, biases and masks the scores of one row with the keys of a chunk and returns the largest.
template <typename L>
float prepare_scores(const AttentionArgs& args, const AttentionRow& row, int64_t chunk, float* scores, Keys keys) {
  using V = typename L::V;
  if (keys.begin == 0 && keys.end == kChunkKeys && !(args.soft_cap > 0) && row.bias == nullptr)
    return scale_scores<L>(args.scale, scores);
  const V lowest = L::all(kMinusInfinity);
  const V factor = L::all(args.scale);
  const V cap = L::all(args.soft_cap);
  V best = lowest;
  for (int64_t i = keys.begin / 16 * 16; i < keys.end; i += 16) {
    V s = L::mul(L::load(scores + i), factor);
    if (args.soft_cap > 0) s = L::mul(cap, tanh<L>(L::div(s, cap)));
    if (row.bias != nullptr) s = L::add(s, biases<L>(row, args.bias_reach, chunk * kChunkKeys + i));
    if (i < keys.begin || i + 16 > keys.end) s = L::select(L::between(keys.begin - i, keys.end - i), s, lowest);
    L::store(scores + i, s);
    best = L::max(best, s);
  }
  return L::top(best);
}

template <typename L>
float whole_exponentials(float* scores, typename L::V maximums) {
  typename L::V p[kChunkLanes];
#pragma GCC unroll 4
  for (int64_t i = 0; i < kChunkLanes; ++i) {
    p[i] = exp<L>(L::sub(L::load(scores + 16 * i), maximums));
    L::store(scores + 16 * i, p[i]);
  }
  typename L::V sums = L::zero();
#pragma GCC unroll 4
  for (int64_t i = 0; i < kChunkLanes; ++i) sums = L::add(sums, p[i]);
  return L::fold(sums);
}

/// Turns scores into exp(score - maximum) and returns their sum.
template <typename L>
float exponentials(float* scores, float maximum, Keys keys) {
  using V = typename L::V;
  const V maximums = L::all(maximum);
  if (keys.begin == 0 && keys.end == kChunkKeys) return whole_exponentials<L>(scores, maximums);
  V sums = L::zero();
  for (int64_t i = keys.begin / 16 * 16; i < keys.end; i += 16) {
    const V p = exp<L>(L::sub(L::load(scores + i), maximums));
    L::store(scores + i, p);
    sums = L::add(sums, p);
  }
  return L::fold(sums);
}

/// Up to kBlockRows rows of a tile that meet one chunk together.
struct Block {
  int64_t first;  ///< row in the tile
  int64_t chunk;
  int rows;
  Keys keys[kBlockRows];
  Keys any;         ///< seen by some row
  Keys common;      ///< seen by all rows
  float decay[16];  ///< written by update_states for its rows
};

void set_block(Block& block, const Tile& tile, int64_t first, int64_t chunk) {
  block.first = first;
  block.chunk = chunk;
  block.rows = static_cast<int>(lesser(tile.count - first, kBlockRows));
  if (tile.all_see(chunk)) {
    block.any = block.common = {0, kChunkKeys};
    for (Keys& keys : block.keys) keys = block.any;
    return;
  }
  block.any = {kChunkKeys, 0};
  block.common = {0, kChunkKeys};
  for (int r = 0; r < block.rows; ++r) {
    const Keys keys = visible(tile.rows[first + r], chunk);
    block.keys[r] = keys;
    block.common = {greater(block.common.begin, keys.begin), lesser(block.common.end, keys.end)};
    if (keys.empty()) continue;
    block.any = {lesser(block.any.begin, keys.begin), greater(block.any.end, keys.end)};
  }
}

/// Softmax step of each row: scores become p; maximum and sum of the states move on; block.decay scales the old sums.
template <typename L>
void update_states(const Tile& tile, Block& block) {
  float maximums[kBlockRows];
  for (int r = 0; r < block.rows; ++r) {
    block.decay[r] = 0.0F;
    if (block.keys[r].empty()) continue;
    const float* state = tile.states + (block.first + r) * tile.state_floats();
    const int64_t row = block.first + r;
    const float top =
        prepare_scores<L>(*tile.args, tile.rows[row], block.chunk, tile.scores + row * kChunkKeys, block.keys[r]);
    maximums[r] = state[0] < top ? top : state[0];
    block.decay[r] = state[0] - maximums[r];
  }
  L::store(block.decay, exp<L>(L::load(block.decay, block.rows)));
  for (int r = 0; r < block.rows; ++r) {
    if (block.keys[r].empty()) continue;
    float* state = tile.states + (block.first + r) * tile.state_floats();
    const float sum = exponentials<L>(tile.scores + (block.first + r) * kChunkKeys, maximums[r], block.keys[r]);
    state[0] = maximums[r];
    state[1] = __builtin_fmaf(state[1], block.decay[r], sum);
  }
}

/// Adds p.v over `keys` to the sums of rows [row, row + rows) of the block.
template <typename L, typename Number>
void add_values(const Tile& tile, const Block& block, const ChunkView& view, Keys keys, int row, int rows) {
  if (keys.empty()) return;
  TileArgs product;
  product.a = tile.scores + (block.first + row) * kChunkKeys + keys.begin;
  product.a_step = kChunkKeys;
  product.b_step = tile.stride * Number::kBytes;
  product.b_group = 16 * Number::kBytes;
  product.b = view.values + keys.begin * product.b_step;
  product.next = view.next_keys;
  product.count = keys.end - keys.begin;
  product.c = tile.states + (block.first + row) * tile.state_floats() + kStateHead;
  product.c_step = tile.state_floats();
  product.decay = block.decay + row;
  multiply_groups<L, Number>(product, rows, tile.stride / 16);
}

/// p.v of all rows: together over the keys that all see, one by one before and after, so that no row ever touches a
/// value that it does not see.
template <typename L, typename Number>
void add_block_values(const Tile& tile, Block& block, const ChunkView& view) {
  const bool together = !block.common.empty();
  for (int r = 0; r < block.rows; ++r) {
    const Keys keys = block.keys[r];
    const Keys before{keys.begin, together ? block.common.begin : keys.end};
    if (before.empty()) continue;
    add_values<L, Number>(tile, block, view, before, r, 1);
    block.decay[r] = 1.0F;
  }
  if (!together) return;
  add_values<L, Number>(tile, block, view, block.common, 0, block.rows);
  for (int r = 0; r < block.rows; ++r) {
    block.decay[r] = 1.0F;
    add_values<L, Number>(tile, block, view, {block.common.end, block.keys[r].end}, r, 1);
  }
}

/// scores = q.k of the rows of a block with the groups of keys that some row sees.
template <typename L, typename Number>
void score_block(const Tile& tile, const Block& block, const ChunkView& view) {
  const int64_t head_size = tile.args->head_size;
  const int64_t group = block.any.begin / 16;
  TileArgs product;
  product.a = tile.queries + block.first * head_size;
  product.a_step = head_size;
  product.b_step = 16 * Number::kBytes;
  product.b_group = head_size * product.b_step;
  product.b = view.keys + group * product.b_group;
  product.next = view.next_values;
  product.count = head_size;
  product.c = tile.scores + block.first * kChunkKeys + group * 16;
  product.c_step = kChunkKeys;
  multiply_groups<L, Number>(product, block.rows, (block.any.end + 15) / 16 - group);
}

/// All rows with the keys first and then all with the values: each of the two fits a first-level cache, both do not.
template <typename L, typename Number>
void add_chunk(const Tile& tile, int64_t chunk, const ChunkView& view) {
  Block blocks[kAttentionTileRows / kBlockRows];
  int64_t count = 0;
  for (int64_t first = 0; first < tile.count; first += kBlockRows) {
    set_block(blocks[count], tile, first, chunk);
    if (!blocks[count].any.empty()) ++count;
  }
  for (int64_t i = 0; i < count; ++i) score_block<L, Number>(tile, blocks[i], view);
  for (int64_t i = 0; i < count; ++i) update_states<L>(tile, blocks[i]);
  for (int64_t i = 0; i < count; ++i) add_block_values<L, Number>(tile, blocks[i], view);
}

/// Converts numbers [begin, end) of a chunk to float32.
template <typename L, typename Number>
void widen(const std::byte* chunk, int64_t begin, int64_t end, float* out) {
  for (int64_t i = begin; i < end; i += 16) L::store(out + i, Number::load(chunk + i * Number::kBytes));
}

/// Keys begin <= i < end of a chunk of joined rows as float32: in key layout, and the values in rows of tile.stride.
template <typename L, typename Number>
void take_apart(const Tile& tile, const std::byte* chunk, Keys any) {
  const int64_t head_size = tile.args->head_size;
  const int64_t row_bytes = value_stride(head_size) * Number::kBytes;
  for (int64_t first = any.begin / 16 * 16; first < any.end; first += 16) {
    for_lanes(head_size, [&](int64_t d, int64_t n) {
      typename L::V lanes[16];
      const std::byte* from = chunk + first * row_bytes + d * Number::kBytes;
      for (int64_t i = 0; i < 16; ++i) lanes[i] = Number::load(from + i * row_bytes);
      for (int64_t i = 0; d < tile.stride && i < 16; ++i)
        L::store(tile.values + (first + i) * tile.stride + d, lanes[i]);
      L::transpose(lanes);
      for (int64_t i = 0; i < n; ++i) L::store(tile.keys + (first * head_size) + (d + i) * 16, lanes[i]);
    });
  }
}

template <typename L, typename Number>
void add_chunk_of(const Tile& tile, int64_t chunk, Keys any) {
  ChunkView view;
  if (tile.args->key_chunks == nullptr) {
    take_apart<L, Number>(tile, tile.args->value_chunks[chunk], any);
    view.keys = reinterpret_cast<const std::byte*>(tile.keys);
    view.values = reinterpret_cast<const std::byte*>(tile.values);
    add_chunk<L, NumberF32<L>>(tile, chunk, view);
    return;
  }
  view.keys = tile.args->key_chunks[chunk];
  view.values = tile.args->value_chunks[chunk];
  if (tile.count <= kBlockRows) {
    // Few rows wait for memory, and chunks are too short for the processor to see the stream.
    if (chunk < tile.whole_chunks) view.next_values = view.values;
    if (chunk + 1 < tile.whole_chunks) view.next_keys = tile.args->key_chunks[chunk + 1];
    add_chunk<L, Number>(tile, chunk, view);
    return;
  }
  if (Number::kBytes == 4) {
    add_chunk<L, Number>(tile, chunk, view);
    return;
  }
  const int64_t group = 16 * tile.args->head_size;
  widen<L, Number>(view.keys, any.begin / 16 * group, (any.end + 15) / 16 * group, tile.keys);
  widen<L, Number>(view.values, any.begin * tile.stride, any.end * tile.stride, tile.values);
  view.keys = reinterpret_cast<const std::byte*>(tile.keys);
  view.values = reinterpret_cast<const std::byte*>(tile.values);
  add_chunk<L, NumberF32<L>>(tile, chunk, view);
}

template <typename L>
void run_segment(const Tile& tile, int64_t segment) {
  constexpr int64_t kChunks = kSegmentKeys / kChunkKeys;
  constexpr void (*kAdd[])(const Tile&, int64_t, Keys) = {add_chunk_of<L, NumberF32<L>>, add_chunk_of<L, NumberF16<L>>,
                                                          add_chunk_of<L, NumberBf16<L>>};
  const auto add = kAdd[static_cast<size_t>(tile.args->format)];
  clear_states(tile.states, tile.count, tile.state_floats());
  for (int64_t chunk = segment * kChunks; chunk < (segment + 1) * kChunks; ++chunk) {
    const bool whole = tile.all_see(chunk);
    Keys any = whole ? Keys{0, kChunkKeys} : Keys{kChunkKeys, 0};
    for (int64_t i = 0; !whole && i < tile.count; ++i) {
      const Keys keys = visible(tile.rows[i], chunk);
      if (!keys.empty()) any = {lesser(any.begin, keys.begin), greater(any.end, keys.end)};
    }
    if (!any.empty()) add(tile, chunk, any);
  }
}

/// Adds a segment's state to a running one.
template <typename L>
void merge_state(float* running, const float* segment, int64_t stride) {
  if (segment[1] == 0.0F) return;
  const float maximum = running[0] < segment[0] ? segment[0] : running[0];
  const float a = exp1<L>(running[0] - maximum);
  const float b = exp1<L>(segment[0] - maximum);
  running[0] = maximum;
  running[1] = __builtin_fmaf(running[1], a, segment[1] * b);
  for (int64_t d = kStateHead; d < kStateHead + stride; d += 16) {
    const auto scaled = L::mul(L::load(segment + d), L::all(b));
    L::store(running + d, L::fma(L::load(running + d), L::all(a), scaled));
  }
}

template <typename L>
void finish_row(const AttentionRow& row, const float* running, int64_t value_size) {
  float sum = running[1];
  float factor = 1.0F;
  if (row.sink > kMinusInfinity) {
    const float maximum = running[0] < row.sink ? row.sink : running[0];
    factor = exp1<L>(running[0] - maximum);
    sum = __builtin_fmaf(sum, factor, exp1<L>(row.sink - maximum));
  }
  const auto inverse = L::all(sum == 0.0F ? 0.0F : 1.0F / sum);
  for_lanes(value_size, [&](int64_t d, int64_t n) {
    const auto scaled = L::mul(L::mul(L::load(running + kStateHead + d), L::all(factor)), inverse);
    store_some<L>(row.out + d, L::add(scaled, L::zero()), n);
  });
}

template <typename L>
void attention_rows(const AttentionArgs& args) {
  for (int64_t first = 0; first < args.rows; first += kAttentionTileRows) {
    const Tile tile = make_tile(args, first);
    clear_states(tile.running, tile.count, tile.state_floats());
    int64_t first_key = INT64_MAX;
    int64_t last_key = -1;
    for (int64_t i = 0; i < tile.count; ++i) {
      if (tile.rows[i].last_key < tile.rows[i].first_key) continue;
      first_key = lesser(first_key, tile.rows[i].first_key);
      last_key = greater(last_key, tile.rows[i].last_key);
    }
    for (int64_t segment = first_key / kSegmentKeys; segment * kSegmentKeys <= last_key; ++segment) {
      run_segment<L>(tile, segment);
      for (int64_t i = 0; i < tile.count; ++i) {
        merge_state<L>(tile.running + i * tile.state_floats(), tile.states + i * tile.state_floats(), tile.stride);
      }
    }
    for (int64_t i = 0; i < tile.count; ++i) {
      finish_row<L>(tile.rows[i], tile.running + i * tile.state_floats(), args.value_size);
    }
  }
}

template <typename L>
void attention_segments_rows(const AttentionArgs& args, int64_t begin, int64_t end, float* partial) {
  for (int64_t first = 0; first < args.rows; first += kAttentionTileRows) {
    Tile tile = make_tile(args, first);
    for (int64_t segment = begin; segment < end; ++segment) {
      tile.states = partial + ((segment - begin) * args.rows + first) * tile.state_floats();
      run_segment<L>(tile, segment);
    }
  }
}

template <typename L>
void attention_merge_rows(const AttentionArgs& args, int64_t segments, const float* partial, int64_t row_begin,
                          int64_t row_end) {
  const int64_t floats = attention_state_floats(args.value_size);
  float* running = args.scratch;
  for (int64_t i = row_begin; i < row_end; ++i) {
    clear_states(running, 1, floats);
    for (int64_t segment = 0; segment < segments; ++segment) {
      merge_state<L>(running, partial + (segment * args.rows + i) * floats, floats - kStateHead);
    }
    finish_row<L>(args.row_list[i], running, args.value_size);
  }
}

/// Sixteen numbers in a cache format, ready to be stored one by one.
template <typename L>
void narrow(CacheFormat format, typename L::V v, uint16_t* out) {
  if (format == CacheFormat::kF16) {
    L::to_f16(v, out);
  } else {
    L::to_bf16(v, out);
  }
}

template <typename L>
void store_key_lanes(CacheFormat format, int64_t head_size, const float* key, std::byte* chunk, int64_t index) {
  const int64_t place = index / 16 * head_size * 16 + index % 16;
  if (format == CacheFormat::kF32) {
    float* out = reinterpret_cast<float*>(chunk) + place;
    for (int64_t d = 0; d < head_size; ++d) out[d * 16] = key[d];
    return;
  }
  uint16_t* out = reinterpret_cast<uint16_t*>(chunk) + place;
  for_lanes(head_size, [&](int64_t d, int64_t n) {
    uint16_t numbers[16];
    narrow<L>(format, load_some<L>(key + d, n), numbers);
    for (int64_t i = 0; i < n; ++i) out[(d + i) * 16] = numbers[i];
  });
}

template <typename L>
void store_value_lanes(CacheFormat format, int64_t value_size, const float* value, std::byte* chunk, int64_t index) {
  const int64_t place = index * value_stride(value_size);
  for_lanes(value_size, [&](int64_t d, int64_t n) {
    const auto v = load_some<L>(value + d, n);
    if (format == CacheFormat::kF32) {
      L::store(reinterpret_cast<float*>(chunk) + place + d, v);
    } else {
      narrow<L>(format, v, reinterpret_cast<uint16_t*>(chunk) + place + d);
    }
  });
}

template <typename L>
constexpr AttentionVariant attention_variant(core::Isa isa) {
  return {isa,
          attention_rows<L>,
          attention_segments_rows<L>,
          attention_merge_rows<L>,
          store_key_lanes<L>,
          store_value_lanes<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

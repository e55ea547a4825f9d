#pragma once

#include "kernels/attention_q8.h"
#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/loop_body.h"
#include "kernels/cpu/math_body.h"

/// Tiles of rows and the softmax between the two products of attention. L is a Lanes struct.
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
  int64_t block_rows = 0;    ///< rows that meet a chunk together
  int64_t stride = 0;        ///< of values
  int64_t whole_chunks = 0;  ///< up to the last key that some row sees
  Keys common{};             ///< absolute positions that all rows see
  float* queries = nullptr;
  float* keys = nullptr;
  float* values = nullptr;
  float* scores = nullptr;
  float* states = nullptr;   ///< of a segment
  float* running = nullptr;  ///< of the segments so far
  /// Queries in integers, [count][query_stride], and their scales; with kQ8_0 alone.
  int16_t* integers = nullptr;
  float* query_scales = nullptr;
  /// Of attention_scores: where scores go, instead of on to the softmax; null otherwise.
  float* kept = nullptr;
  int64_t kept_stride = 0;
  int64_t kept_first = 0;

  int64_t state_floats() const { return kStateHead + stride; }
  bool all_see(int64_t chunk) const {
    return common.begin <= chunk * kChunkKeys && (chunk + 1) * kChunkKeys <= common.end;
  }
};

/// Few rows go together, so that a chunk is read once; more are shared out evenly.
template <typename L>
int64_t block_rows(int64_t count) {
  if (count <= L::kMostRows) return count;
  const int64_t blocks = (count + kUsualBlock - 1) / kUsualBlock;
  return (count + blocks - 1) / blocks;
}
constexpr int64_t kMostBlocks = kAttentionTileRows / kUsualBlock;

/// The largest magnitude of a row; NaN if a number is not finite.
template <typename L>
float magnitude(const float* x, int64_t count) {
  auto best = L::zero();
  auto rest = L::zero();
  for_lanes(count, [&](int64_t i, int64_t n) {
    const auto v = load_some<L>(x + i, n);
    best = L::max(best, L::abs(v));
    rest = L::add(rest, L::sub(v, v));
  });
  return L::fold(rest) == 0.0F ? L::top(best) : __builtin_nanf("");
}

/// Turns a query into integers, zeros up to a multiple of 16; returns their scale.
template <typename L>
float quantize_query(const float* query, int64_t head_size, int16_t* out) {
  const float amax = magnitude<L>(query, head_size);
  if (!(amax >= kLeastScale)) {
    __builtin_memset(out, 0, static_cast<size_t>(query_stride(head_size)) * sizeof(int16_t));
    return amax != amax ? amax : 0.0F;
  }
  const auto factor = L::all(kMost16 / amax);
  for_lanes(head_size, [&](int64_t d, int64_t n) { L::to_int16(L::mul(load_some<L>(query + d, n), factor), out + d); });
  return amax / kMost16;
}

template <typename L>
Tile make_tile(const AttentionArgs& args, int64_t first_row) {
  Tile tile;
  tile.args = &args;
  tile.rows = args.row_list + first_row;
  tile.count = lesser(args.rows - first_row, kAttentionTileRows);
  tile.block_rows = block_rows<L>(tile.count);
  tile.stride = value_stride(args.value_size);
  tile.queries = args.scratch;
  tile.keys = tile.queries + kAttentionTileRows * args.head_size;
  tile.values = tile.keys + kChunkKeys * args.head_size;
  tile.scores = tile.values + kChunkKeys * tile.stride;
  tile.states = tile.scores + kAttentionTileRows * kChunkKeys;
  tile.running = tile.states + kAttentionTileRows * tile.state_floats();
  tile.query_scales = tile.running + kAttentionTileRows * tile.state_floats();
  tile.integers = reinterpret_cast<int16_t*>(tile.query_scales + kAttentionTileRows);
  tile.common = {0, INT64_MAX};
  const bool integers = args.format == CacheFormat::kQ8_0 && args.key_chunks != nullptr;
  for (int64_t i = 0; i < tile.count; ++i) {
    const AttentionRow& row = tile.rows[i];
    if (integers) {
      tile.query_scales[i] =
          quantize_query<L>(row.query, args.head_size, tile.integers + i * query_stride(args.head_size));
    } else {
      __builtin_memcpy(tile.queries + i * args.head_size, row.query,
                       static_cast<size_t>(args.head_size) * sizeof(float));
    }
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
  const std::byte* next_keys = nullptr;    ///< of the next chunk, to prefetch while keys are read
  const std::byte* next_values = nullptr;  ///< to prefetch while values are read

  /// For blocks after the first, which asks for all.
  ChunkView alone() const { return {.keys = keys, .values = values}; }
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
  block.rows = static_cast<int>(lesser(tile.count - first, tile.block_rows));
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

/// The blocks of a tile that see something of a chunk; returns how many.
int64_t list_blocks(const Tile& tile, int64_t chunk, Block* blocks) {
  int64_t count = 0;
  for (int64_t first = 0; first < tile.count; first += tile.block_rows) {
    set_block(blocks[count], tile, first, chunk);
    if (!blocks[count].any.empty()) ++count;
  }
  return count;
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

/// Hands out the finished scores of blocks, when that is what is wanted; whether it was.
template <typename L>
bool keep_scores(const Tile& tile, const Block* blocks, int64_t count) {
  if (tile.kept == nullptr) return false;
  for (const Block* block = blocks; block < blocks + count; ++block) {
    for (int r = 0; r < block->rows; ++r) {
      const Keys keys = block->keys[r];
      if (keys.empty()) continue;
      const int64_t row = block->first + r;
      float* scores = tile.scores + row * kChunkKeys;
      prepare_scores<L>(*tile.args, tile.rows[row], block->chunk, scores, keys);
      const int64_t place = row * tile.kept_stride + block->chunk * kChunkKeys + keys.begin - tile.kept_first;
      __builtin_memcpy(tile.kept + place, scores + keys.begin,
                       static_cast<size_t>(keys.end - keys.begin) * sizeof(float));
    }
  }
  return true;
}

}  // namespace
}  // namespace lamina::kernels::cpu

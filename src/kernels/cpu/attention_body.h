#pragma once

#include "kernels/cpu/attention_q8_body.h"
#include "kernels/cpu/attention_softmax.h"
#include "kernels/cpu/attention_tile.h"

/// ref/attention.cpp in tiles of rows. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

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
  product.next = view.next_values;
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
  product.next = view.next_keys;
  product.count = head_size;
  product.c = tile.scores + block.first * kChunkKeys + group * 16;
  product.c_step = kChunkKeys;
  multiply_groups<L, Number>(product, block.rows, (block.any.end + 15) / 16 - group);
}

/// All rows with the keys first and then all with the values: each of the two fits a first-level cache, both do not.
template <typename L, typename Number>
void add_chunk(const Tile& tile, int64_t chunk, const ChunkView& view) {
  Block blocks[kMostBlocks];
  const int64_t count = list_blocks(tile, chunk, blocks);
  for (int64_t i = 0; i < count; ++i) score_block<L, Number>(tile, blocks[i], i == 0 ? view : view.alone());
  if (keep_scores<L>(tile, blocks, count)) return;
  for (int64_t i = 0; i < count; ++i) update_states<L>(tile, blocks[i]);
  for (int64_t i = 0; i < count; ++i) add_block_values<L, Number>(tile, blocks[i], i == 0 ? view : view.alone());
}

/// Converts numbers [begin, end) of a chunk to float32.
template <typename L, typename Number>
void widen(const std::byte* chunk, int64_t begin, int64_t end, float* out) {
  for (int64_t i = begin; i < end; i += 16) L::store(out + i, Number::load(chunk + i * Number::kBytes));
}

/// Rows of a chunk of values in a format of floats.
template <typename L, typename Number>
struct FloatRows {
  static constexpr int64_t kTogether = 1;  ///< keys that share their addresses
  const std::byte* chunk;
  int64_t row_bytes;

  FloatRows(const std::byte* values, int64_t size) : chunk(values), row_bytes(value_stride(size) * Number::kBytes) {}
  typename L::V load(int64_t index, int64_t dimension) const { return Number::load(at(index, dimension)); }
  const std::byte* at(int64_t index, int64_t dimension) const {
    return chunk + index * row_bytes + dimension * Number::kBytes;
  }
};

/// Keys begin <= i < end of a chunk of joined rows as float32: in key layout, and the values in rows of tile.stride.
/// Asks for the same rows of the next chunk: the order of reading hides them from the processor.
template <typename L, typename Rows>
void take_apart(const Tile& tile, const Rows& rows, const Rows& next, Keys any) {
  const int64_t head_size = tile.args->head_size;
  for (int64_t first = any.begin / 16 * 16; first < any.end; first += 16) {
    for_lanes(head_size, [&](int64_t d, int64_t n) {
      typename L::V lanes[16];
      for (int64_t i = 0; i < 16; ++i) lanes[i] = rows.load(first + i, d);
      for (int64_t i = 0; i < 16; i += Rows::kTogether) prefetch_line(next.at(first + i, d));
      for (int64_t i = 0; d < tile.stride && i < 16; ++i)
        L::store(tile.values + (first + i) * tile.stride + d, lanes[i]);
      L::transpose(lanes);
      for (int64_t i = 0; i < n; ++i) L::store(tile.keys + (first * head_size) + (d + i) * 16, lanes[i]);
    });
  }
}

/// A chunk of joined rows, which are read back to float32.
template <typename L, typename Rows>
void add_joined_chunk(const Tile& tile, int64_t chunk, Keys any) {
  const std::byte* const* chunks = tile.args->value_chunks;
  const Rows rows(chunks[chunk], tile.args->head_size);
  const int64_t next = chunk + 1 < tile.whole_chunks ? chunk + 1 : chunk;
  take_apart<L>(tile, rows, Rows(chunks[next], tile.args->head_size), any);
  ChunkView view;
  view.keys = reinterpret_cast<const std::byte*>(tile.keys);
  view.values = reinterpret_cast<const std::byte*>(tile.values);
  add_chunk<L, NumberF32<L>>(tile, chunk, view);
}

/// The chunk where it lies; few rows wait for memory, and chunks are too short for the processor to see the stream, so
/// they name what is read next.
ChunkView view_of(const Tile& tile, int64_t chunk) {
  ChunkView view;
  view.keys = tile.args->key_chunks[chunk];
  view.values = tile.args->value_chunks[chunk];
  if (tile.count > kBlockRows || chunk + 1 >= tile.whole_chunks) return view;
  view.next_keys = tile.args->key_chunks[chunk + 1];
  view.next_values = tile.args->value_chunks[chunk + 1];
  return view;
}

template <typename L, typename Number>
void add_chunk_of(const Tile& tile, int64_t chunk, Keys any) {
  if (tile.args->key_chunks == nullptr) {
    add_joined_chunk<L, FloatRows<L, Number>>(tile, chunk, any);
    return;
  }
  ChunkView view = view_of(tile, chunk);
  if (tile.count <= kBlockRows || Number::kBytes == 4) {
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
void add_q8_chunk_of(const Tile& tile, int64_t chunk, Keys any) {
  if (tile.args->key_chunks == nullptr) {
    add_joined_chunk<L, ByteRows<L>>(tile, chunk, any);
  } else {
    add_q8_chunk<L>(tile, chunk, view_of(tile, chunk));
  }
}

template <typename L>
void run_segment(const Tile& tile, int64_t segment) {
  constexpr int64_t kChunks = kSegmentKeys / kChunkKeys;
  constexpr void (*kAdd[])(const Tile&, int64_t, Keys) = {add_chunk_of<L, NumberF32<L>>, add_chunk_of<L, NumberF16<L>>,
                                                          add_chunk_of<L, NumberBf16<L>>, add_q8_chunk_of<L>};
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

/// Segments that some row of a tile sees something of.
struct Segments {
  int64_t begin;
  int64_t end;
};

Segments seen_segments(const Tile& tile) {
  int64_t first_key = INT64_MAX;
  int64_t last_key = -1;
  for (int64_t i = 0; i < tile.count; ++i) {
    if (tile.rows[i].last_key < tile.rows[i].first_key) continue;
    first_key = lesser(first_key, tile.rows[i].first_key);
    last_key = greater(last_key, tile.rows[i].last_key);
  }
  return {first_key / kSegmentKeys, (last_key + kSegmentKeys) / kSegmentKeys};
}

template <typename L>
void attention_scores_rows(const AttentionArgs& args, int64_t first_key, float* scores, int64_t stride) {
  for (int64_t first = 0; first < args.rows; first += kAttentionTileRows) {
    Tile tile = make_tile<L>(args, first);
    tile.kept = scores + first * stride;
    tile.kept_stride = stride;
    tile.kept_first = first_key;
    const Segments segments = seen_segments(tile);
    for (int64_t segment = segments.begin; segment < segments.end; ++segment) run_segment<L>(tile, segment);
  }
}

template <typename L>
void attention_rows(const AttentionArgs& args) {
  for (int64_t first = 0; first < args.rows; first += kAttentionTileRows) {
    const Tile tile = make_tile<L>(args, first);
    clear_states(tile.running, tile.count, tile.state_floats());
    const Segments segments = seen_segments(tile);
    for (int64_t segment = segments.begin; segment < segments.end; ++segment) {
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
    Tile tile = make_tile<L>(args, first);
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
  if (format == CacheFormat::kQ8_0) return store_key_q8<L>(head_size, key, chunk, index);
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
  if (format == CacheFormat::kQ8_0) return store_value_q8<L>(value_size, value, chunk, index);
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
          store_value_lanes<L>,
          attention_scores_rows<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

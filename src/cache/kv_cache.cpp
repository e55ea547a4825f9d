#include "cache/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace lamina::cache {

namespace {

using core::ErrorCode;

constexpr int64_t kBlock = kernels::kChunkKeys;

int64_t blocks_for(int64_t tokens) {
  return (tokens + kBlock - 1) / kBlock;
}

/// Chunks start on cache lines.
int64_t aligned(int64_t bytes) {
  constexpr auto kLine = static_cast<int64_t>(core::kAlignment);
  return (bytes + kLine - 1) / kLine * kLine;
}

int64_t key_bytes(const VisitShape& visit) {
  return visit.joined ? 0 : aligned(kernels::key_chunk_bytes(visit.format, visit.key_size));
}

int64_t value_bytes(const VisitShape& visit) {
  return aligned(kernels::value_chunk_bytes(visit.format, visit.joined ? visit.key_size : visit.value_size));
}

int64_t visit_bytes(const VisitShape& visit) {
  return visit.kv_heads * (key_bytes(visit) + value_bytes(visit));
}

/// Rows of a pointer table that list key chunks, and that list any.
int64_t key_rows(const VisitShape& visit) {
  return visit.joined ? 0 : visit.kv_heads;
}

int64_t table_rows(const VisitShape& visit) {
  return key_rows(visit) + visit.kv_heads;
}

int64_t state_bytes(const VisitShape& visit) {
  return aligned(visit.state_floats * static_cast<int64_t>(sizeof(float)));
}

/// Blocks of the pool: `tokens` shared by all, and one block more per further sequence, for its unfilled end.
int64_t pool_blocks(const KvCacheOptions& options) {
  return blocks_for(options.tokens) + options.sequences - 1;
}

int64_t longest(const KvCacheOptions& options) {
  return options.sequence_tokens > 0 ? std::min(options.sequence_tokens, options.tokens) : options.tokens;
}

core::Status check(const KvCacheOptions& options) {
  if (options.tokens < 1 || options.sequences < 1 || options.sequence_tokens < 0) {
    return core::fail(ErrorCode::kInvalid, "cache",
                      "{} tokens, {} sequences, {} tokens for each; at least 1, 1 and 0 expected", options.tokens,
                      options.sequences, options.sequence_tokens);
  }
  for (size_t i = 0; i < options.visits.size(); ++i) {
    const VisitShape& visit = options.visits[i];
    if (visit.state_floats < 0) {
      return core::fail(ErrorCode::kInvalid, "cache", "visit {}: a state of {} numbers; 0 or more expected", i,
                        visit.state_floats);
    }
    if (visit.kv_heads < 0 || (visit.kv_heads > 0 && (visit.key_size < 1 || visit.value_size < 1))) {
      return core::fail(ErrorCode::kInvalid, "cache", "visit {}: {} heads of {} and {} numbers; positive ones expected",
                        i, visit.kv_heads, visit.key_size, visit.value_size);
    }
    if (visit.joined && visit.value_size > visit.key_size) {
      return core::fail(ErrorCode::kInvalid, "cache",
                        "visit {}: values of {} numbers are part of keys of {}; no more expected", i, visit.value_size,
                        visit.key_size);
    }
  }
  return {};
}

}  // namespace

int64_t KvCache::bytes(const KvCacheOptions& options) {
  int64_t block = 0;
  int64_t rows = 0;
  int64_t states = 0;
  for (const VisitShape& visit : options.visits) {
    block += visit_bytes(visit);
    rows += table_rows(visit);
    states += state_bytes(visit);
  }
  const auto pointer = static_cast<int64_t>(sizeof(std::byte*));
  const int64_t tables = rows * pointer + static_cast<int64_t>(sizeof(int32_t));
  return pool_blocks(options) * (block + static_cast<int64_t>(sizeof(int32_t))) +
         options.sequences * (blocks_for(longest(options)) * tables + states);
}

core::Result<KvCache> KvCache::create(const KvCacheOptions& options) {
  LAMINA_CHECK_OK(check(options));
  KvCache cache;
  const int64_t size = cache.plan(options);
  LAMINA_ASSIGN(cache.pool_, core::AlignedBuffer::allocate(static_cast<size_t>(size)));
  const int64_t states = options.sequences * cache.state_bytes_;
  LAMINA_ASSIGN(cache.states_, core::AlignedBuffer::allocate(static_cast<size_t>(states)));
  return cache;
}

int64_t KvCache::plan(const KvCacheOptions& options) {
  visits_ = options.visits;
  blocks_ = pool_blocks(options);
  sequence_blocks_ = blocks_for(longest(options));
  // All visits of a block lie together, so that a short sequence touches little of the pool.
  int64_t offset = 0;
  for (const VisitShape& visit : visits_) {
    Place place;
    place.offset = offset;
    place.key_bytes = key_bytes(visit);
    place.value_bytes = value_bytes(visit);
    place.bytes = visit_bytes(visit);
    place.first_row = rows_;
    place.state = state_bytes_;
    state_bytes_ += state_bytes(visit);
    rows_ += table_rows(visit);
    offset += place.bytes;
    places_.push_back(place);
  }
  block_bytes_ = offset;
  free_.reserve(static_cast<size_t>(blocks_));
  for (int64_t i = blocks_; i > 0; --i) free_.push_back(static_cast<int32_t>(i - 1));
  sequences_.resize(static_cast<size_t>(options.sequences));
  for (Sequence& sequence : sequences_) {
    sequence.blocks.reserve(static_cast<size_t>(sequence_blocks_));
    sequence.pointers.resize(static_cast<size_t>(rows_ * sequence_blocks_));
  }
  return blocks_ * block_bytes_;
}

core::Result<SequenceId> KvCache::open() {
  const auto found = std::ranges::find(sequences_, false, &Sequence::open);
  if (found == sequences_.end()) {
    return core::fail(ErrorCode::kLimit, "cache", "{} sequences are open; at most {} fit", sequences_.size(),
                      sequences_.size());
  }
  found->open = true;
  found->length = 0;
  const SequenceId id{static_cast<int32_t>(found - sequences_.begin())};
  clear_states(id);
  return id;
}

core::Status KvCache::reserve(SequenceId id, int64_t tokens) {
  Sequence& sequence = at(id);
  const int64_t have = static_cast<int64_t>(sequence.blocks.size());
  const int64_t want = blocks_for(tokens);
  if (want > sequence_blocks_) {
    return core::fail(ErrorCode::kLimit, "cache", "{} tokens wanted; a sequence holds at most {}", tokens,
                      sequence_blocks_ * kBlock);
  }
  if (want - have > free_blocks()) {
    return core::fail(ErrorCode::kLimit, "cache", "{} more tokens wanted; {} are free of {}", (want - have) * kBlock,
                      free_blocks() * kBlock, blocks_ * kBlock);
  }
  for (int64_t i = have; i < want; ++i) append_block(sequence);
  return {};
}

void KvCache::append_block(Sequence& sequence) {
  const int32_t block = free_.back();
  free_.pop_back();
  const auto place_in_sequence = static_cast<int64_t>(sequence.blocks.size());
  sequence.blocks.push_back(block);
  for (size_t v = 0; v < visits_.size(); ++v) {
    const std::byte* chunk = pool_.data() + block * block_bytes_ + places_[v].offset;
    for (int64_t row = 0; row < table_rows(visits_[v]); ++row) {
      sequence.pointers[static_cast<size_t>((places_[v].first_row + row) * sequence_blocks_ + place_in_sequence)] =
          chunk;
      chunk += row < key_rows(visits_[v]) ? places_[v].key_bytes : places_[v].value_bytes;
    }
  }
}

void KvCache::drop_blocks(Sequence& sequence, int64_t keep) {
  while (static_cast<int64_t>(sequence.blocks.size()) > keep) {
    free_.push_back(sequence.blocks.back());
    sequence.blocks.pop_back();
  }
}

void KvCache::set_length(SequenceId id, int64_t tokens) {
  assert(tokens >= 0 && tokens <= reserved(id));
  at(id).length = tokens;
}

int64_t KvCache::length(SequenceId id) const {
  return at(id).length;
}

int64_t KvCache::reserved(SequenceId id) const {
  return static_cast<int64_t>(at(id).blocks.size()) * kBlock;
}

int64_t KvCache::truncate(SequenceId id, int64_t length) {
  Sequence& sequence = at(id);
  if (length < sequence.length) {
    sequence.length = state_bytes_ > 0 ? 0 : length;
    clear_states(id);
  }
  drop_blocks(sequence, blocks_for(sequence.length));
  return sequence.length;
}

core::Result<SequenceId> KvCache::fork(SequenceId source, int64_t length) {
  if (length < 0 || length > this->length(source)) {
    return core::fail(ErrorCode::kInvalid, "cache", "fork at {} tokens; the sequence has {}", length,
                      this->length(source));
  }
  LAMINA_ASSIGN(const SequenceId copy, open());
  if (state_bytes_ > 0 && length < this->length(source)) return copy;
  if (auto status = reserve(copy, length); !status) {
    close(copy);
    return std::unexpected(std::move(status).error());
  }
  for (size_t i = 0; block_bytes_ > 0 && i < static_cast<size_t>(blocks_for(length)); ++i) {
    std::memcpy(pool_.data() + at(copy).blocks[i] * block_bytes_, pool_.data() + at(source).blocks[i] * block_bytes_,
                static_cast<size_t>(block_bytes_));
  }
  std::ranges::copy(states_of(source), states_of(copy).begin());
  at(copy).length = length;
  return copy;
}

void KvCache::close(SequenceId id) {
  Sequence& sequence = at(id);
  drop_blocks(sequence, 0);
  sequence.length = 0;
  sequence.open = false;
}

void KvCache::write(int64_t visit, SequenceId id, int64_t position, const float* keys, const float* values) {
  const VisitShape& shape = visits_[static_cast<size_t>(visit)];
  const Place& place = places_[static_cast<size_t>(visit)];
  assert(position >= 0 && position < reserved(id));
  const int32_t block = at(id).blocks[static_cast<size_t>(position / kBlock)];
  std::byte* chunk = pool_.data() + block * block_bytes_ + place.offset;
  if (shape.joined) {
    for (int64_t head = 0; head < shape.kv_heads; ++head, chunk += place.value_bytes) {
      kernels::store_value(shape.format, shape.key_size, keys + head * shape.key_size, chunk, position % kBlock);
    }
    return;
  }
  for (int64_t head = 0; head < shape.kv_heads; ++head, chunk += place.key_bytes) {
    kernels::store_key(shape.format, shape.key_size, keys + head * shape.key_size, chunk, position % kBlock);
  }
  for (int64_t head = 0; head < shape.kv_heads; ++head, chunk += place.value_bytes) {
    kernels::store_value(shape.format, shape.value_size, values + head * shape.value_size, chunk, position % kBlock);
  }
}

std::span<const std::byte* const> KvCache::key_chunks(int64_t visit, SequenceId id, int64_t kv_head) const {
  if (visits_[static_cast<size_t>(visit)].joined) return {};
  return row(places_[static_cast<size_t>(visit)].first_row + kv_head, id);
}

std::span<const std::byte* const> KvCache::value_chunks(int64_t visit, SequenceId id, int64_t kv_head) const {
  const int64_t keys = key_rows(visits_[static_cast<size_t>(visit)]);
  return row(places_[static_cast<size_t>(visit)].first_row + keys + kv_head, id);
}

std::span<const std::byte* const> KvCache::row(int64_t index, SequenceId id) const {
  const Sequence& sequence = at(id);
  return {sequence.pointers.data() + index * sequence_blocks_, sequence.blocks.size()};
}

float* KvCache::state(int64_t visit, SequenceId id) {
  return reinterpret_cast<float*>(states_of(id).data() + places_[static_cast<size_t>(visit)].state);
}

std::span<std::byte> KvCache::states_of(SequenceId id) {
  const auto size = static_cast<size_t>(state_bytes_);
  return {states_.data() + static_cast<size_t>(id.index) * size, size};
}

void KvCache::clear_states(SequenceId id) {
  std::ranges::fill(states_of(id), std::byte{0});
}

KvCache::Sequence& KvCache::at(SequenceId id) {
  assert(id.index >= 0 && static_cast<size_t>(id.index) < sequences_.size());
  return sequences_[static_cast<size_t>(id.index)];
}

const KvCache::Sequence& KvCache::at(SequenceId id) const {
  assert(id.index >= 0 && static_cast<size_t>(id.index) < sequences_.size());
  return sequences_[static_cast<size_t>(id.index)];
}

}  // namespace lamina::cache

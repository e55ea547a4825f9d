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

/// As many windows and states are kept of texts as sequences can be open.
int64_t kept_places(const KvCacheOptions& options) {
  return options.keeps_texts ? options.sequences : 0;
}

/// Chunks that hold a window and a step beside it, wherever they begin: window - 1 positions before the step's first.
int64_t ring_chunks(const KvCacheOptions& options, int64_t window) {
  const int64_t most = longest(options);
  const int64_t step = options.step_tokens > 0 ? std::min(options.step_tokens, most) : most;
  return std::min(blocks_for(most), blocks_for(std::min(window, most) + step - 2) + 1);
}

core::Status check(const KvCacheOptions& options) {
  if (options.tokens < 1 || options.sequences < 1 || options.sequence_tokens < 0 || options.step_tokens < 0) {
    return core::fail(ErrorCode::kInvalid, "cache",
                      "{} tokens, {} sequences, {} tokens for each, {} at once; at least 1, 1, 0 and 0 expected",
                      options.tokens, options.sequences, options.sequence_tokens, options.step_tokens);
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
    if (visit.window < 0) {
      return core::fail(ErrorCode::kInvalid, "cache", "visit {}: a window of {}; 0 or more expected", i, visit.window);
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

int64_t VisitShape::position_bytes() const {
  if (!keeps_keys()) return 0;
  const int64_t keys = joined ? 0 : kernels::key_chunk_bytes(format, key_size);
  const int64_t values = kernels::value_chunk_bytes(format, joined ? key_size : value_size);
  return kv_heads * (keys + values) / kernels::kChunkKeys;
}

CacheBytes& CacheBytes::operator+=(const CacheBytes& other) {
  whole += other.whole;
  windows += other.windows;
  latents += other.latents;
  states += other.states;
  tables += other.tables;
  return *this;
}

std::vector<KvCache::Group> KvCache::make_groups(const KvCacheOptions& options, std::vector<size_t>& group_of) {
  const int64_t sequence_blocks = blocks_for(longest(options));
  std::vector<Group> groups{{.window = 0, .chunks = sequence_blocks, .blocks = pool_blocks(options)}};
  const int64_t holders = options.sequences + kept_places(options);
  for (const VisitShape& visit : options.visits) {
    const int64_t chunks = visit.window == 0 ? sequence_blocks : ring_chunks(options, visit.window);
    const int64_t window = chunks == sequence_blocks ? 0 : visit.window;
    auto found = std::ranges::find(groups, window, &Group::window);
    if (found == groups.end()) {
      const int64_t blocks = std::min(groups.front().blocks, holders * chunks);
      found = groups.insert(groups.end(), {.window = window, .chunks = chunks, .blocks = blocks});
    }
    found->block_bytes += visit_bytes(visit);
    group_of.push_back(static_cast<size_t>(found - groups.begin()));
  }
  return groups;
}

CacheBytes KvCache::bytes(const KvCacheOptions& options) {
  constexpr auto kIndex = static_cast<int64_t>(sizeof(int32_t));
  std::vector<size_t> group_of;
  const std::vector<Group> groups = make_groups(options, group_of);
  CacheBytes bytes;
  int64_t rows = 0;
  for (size_t i = 0; i < options.visits.size(); ++i) {
    const VisitShape& visit = options.visits[i];
    const Group& group = groups[group_of[i]];
    (visit.joined       ? bytes.latents
     : group.window > 0 ? bytes.windows
                        : bytes.whole) += group.blocks * visit_bytes(visit);
    bytes.states += (options.sequences + kept_places(options)) * state_bytes(visit);
    rows += table_rows(visit);
  }
  for (const Group& group : groups) bytes.tables += (3 * group.blocks + options.sequences * group.chunks) * kIndex;
  bytes.tables +=
      options.sequences * blocks_for(longest(options)) * rows * static_cast<int64_t>(sizeof(const std::byte*));
  return bytes;
}

core::Result<KvCache> KvCache::create(const KvCacheOptions& options) {
  LAMINA_CHECK_OK(check(options));
  KvCache cache;
  const int64_t size = cache.plan(options);
  LAMINA_ASSIGN(cache.pool_, core::AlignedBuffer::allocate(static_cast<size_t>(size)));
  const int64_t states = (options.sequences + kept_places(options)) * cache.state_bytes_;
  LAMINA_ASSIGN(cache.states_, core::AlignedBuffer::allocate(static_cast<size_t>(states)));
  return cache;
}

int64_t KvCache::plan(const KvCacheOptions& options) {
  visits_ = options.visits;
  sequence_blocks_ = blocks_for(longest(options));
  std::vector<size_t> group_of;
  groups_ = make_groups(options, group_of);
  // All visits of a block lie together, so that a short sequence touches little of the pool.
  std::vector<int64_t> offsets(groups_.size(), 0);
  for (size_t i = 0; i < visits_.size(); ++i) {
    const VisitShape& visit = visits_[i];
    Place place;
    place.group = group_of[i];
    place.offset = offsets[place.group];
    place.key_bytes = key_bytes(visit);
    place.value_bytes = value_bytes(visit);
    place.bytes = visit_bytes(visit);
    place.first_row = rows_;
    place.state = state_bytes_;
    state_bytes_ += state_bytes(visit);
    rows_ += table_rows(visit);
    offsets[place.group] += place.bytes;
    places_.push_back(place);
  }
  int64_t size = 0;
  for (Group& group : groups_) {
    group.offset = size;
    size += group.blocks * group.block_bytes;
    group.pool = BlockPool(group.blocks);
  }
  if (state_bytes_ > 0) kept_states_ = BlockPool(kept_places(options));
  sequences_.resize(static_cast<size_t>(options.sequences));
  for (Sequence& sequence : sequences_) {
    for (const Group& group : groups_)
      sequence.rings.push_back({.blocks = std::vector<int32_t>(static_cast<size_t>(group.chunks))});
    sequence.pointers.resize(static_cast<size_t>(rows_ * sequence_blocks_));
  }
  return size;
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
  LAMINA_CHECK_OK(check_room(sequence, tokens));
  if (tokens > sequence.length) own_tail(sequence);
  for (const int64_t want = blocks_for(tokens); sequence.chunks < want; ++sequence.chunks) {
    for (size_t group = 0; group < groups_.size(); ++group) place_chunk(sequence, group, sequence.chunks);
  }
  return {};
}

core::Status KvCache::check_room(const Sequence& sequence, int64_t tokens) const {
  const int64_t more = blocks_for(tokens) - sequence.chunks;
  if (blocks_for(tokens) > sequence_blocks_) {
    return core::fail(ErrorCode::kLimit, "cache", "{} tokens wanted; a sequence holds at most {}", tokens,
                      sequence_blocks_ * kBlock);
  }
  // Groups with windows need no look at their free blocks: they have as many as the first group lets them take.
  if (const int64_t all = more + (tail_is_shared(sequence) ? 1 : 0); more >= 0 && all > free_blocks()) {
    return core::fail(ErrorCode::kLimit, "cache", "{} more tokens wanted; {} are free of {}", all * kBlock,
                      free_blocks() * kBlock, block_count() * kBlock);
  }
  for (const Group& group : groups_) {
    const int64_t first = first_read(group.window, sequence.length) / kBlock;
    if (more <= 0 || blocks_for(tokens) - group.chunks <= first) continue;
    return core::fail(ErrorCode::kLimit, "cache", "{} tokens wanted after {}; a window of {} has room for {} in all",
                      tokens - sequence.length, sequence.length, group.window, group.chunks * kBlock);
  }
  return {};
}

/// Takes a block for the next chunk, or the one of the oldest chunk, which no row will read again.
void KvCache::place_chunk(Sequence& sequence, size_t group, int64_t chunk) {
  Group& from = groups_[group];
  Ring& ring = sequence.rings[group];
  int32_t block = -1;
  if (chunk - ring.begin == from.chunks) {
    block = slot(sequence, group, chunk);
    point(sequence, group, ring.begin++, nullptr);
    if (from.pool.is_shared(block)) {
      from.pool.drop(block);
      block = -1;
    }
  }
  set_chunk(sequence, group, chunk, block >= 0 ? block : take_block(group));
}

/// A block for a sequence; kept texts give one up when none is free.
int32_t KvCache::take_block(size_t group) {
  BlockPool& pool = groups_[group].pool;
  while (pool.free() == 0 && reclaim(group)) {
  }
  return pool.take();
}

int32_t& KvCache::slot(Sequence& sequence, size_t group, int64_t chunk) {
  return sequence.rings[group].blocks[static_cast<size_t>(chunk % groups_[group].chunks)];
}

void KvCache::set_chunk(Sequence& sequence, size_t group, int64_t chunk, int32_t block) {
  slot(sequence, group, chunk) = block;
  point(sequence, group, chunk, block_of(sequence, group, chunk));
}

bool KvCache::has_chunk(const Sequence& sequence, size_t group, int64_t chunk) const {
  return chunk >= sequence.rings[group].begin && chunk < sequence.chunks;
}

/// Whether the block that the next position goes to belongs to others too.
bool KvCache::tail_is_shared(const Sequence& sequence) const {
  const int64_t chunk = sequence.length / kBlock;
  if (chunk >= sequence.chunks) return false;
  const Group& group = groups_.front();
  return group.pool.is_shared(sequence.rings.front().blocks[static_cast<size_t>(chunk % group.chunks)]);
}

void KvCache::own_tail(Sequence& sequence) {
  const int64_t chunk = sequence.length / kBlock;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (!has_chunk(sequence, i, chunk)) continue;
    const int32_t shared = slot(sequence, i, chunk);
    Group& group = groups_[i];
    if (!group.pool.is_shared(shared)) continue;
    const std::byte* from = block_of(sequence, i, chunk);
    set_chunk(sequence, i, chunk, take_block(i));
    if (group.block_bytes > 0) std::memcpy(block_of(sequence, i, chunk), from, static_cast<size_t>(group.block_bytes));
    group.pool.drop(shared);
  }
}

int64_t KvCache::lacking(SequenceId id, int64_t tokens) const {
  const Sequence& sequence = at(id);
  const int64_t copies = tokens > sequence.length && tail_is_shared(sequence) ? 1 : 0;
  return std::max<int64_t>(0, blocks_for(tokens) - sequence.chunks) + copies;
}

/// Enters the chunk of every visit of the group into the pointer table; `block` null: there is none.
void KvCache::point(Sequence& sequence, size_t group, int64_t chunk, const std::byte* block) {
  for (size_t v = 0; v < visits_.size(); ++v) {
    const Place& place = places_[v];
    if (place.group != group) continue;
    int64_t offset = place.offset;
    for (int64_t row = 0; row < table_rows(visits_[v]); ++row) {
      sequence.pointers[static_cast<size_t>((place.first_row + row) * sequence_blocks_ + chunk)] =
          block == nullptr ? nullptr : block + offset;
      offset += row < key_rows(visits_[v]) ? place.key_bytes : place.value_bytes;
    }
  }
}

std::byte* KvCache::block_of(const Sequence& sequence, size_t group, int64_t chunk) {
  const Group& part = groups_[group];
  const int32_t block = sequence.rings[group].blocks[static_cast<size_t>(chunk % part.chunks)];
  return pool_.data() + part.offset + block * part.block_bytes;
}

void KvCache::drop_chunks(Sequence& sequence, int64_t keep) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    Ring& ring = sequence.rings[i];
    for (int64_t chunk = sequence.chunks; chunk > std::max(keep, ring.begin); --chunk)
      groups_[i].pool.drop(slot(sequence, i, chunk - 1));
    ring.begin = std::min(ring.begin, keep);
  }
  sequence.chunks = std::min(sequence.chunks, keep);
}

void KvCache::set_length(SequenceId id, int64_t tokens) {
  assert(tokens >= 0 && tokens <= reserved(id));
  at(id).length = tokens;
}

int64_t KvCache::length(SequenceId id) const {
  return at(id).length;
}

int64_t KvCache::reserved(SequenceId id) const {
  return at(id).chunks * kBlock;
}

/// Whether positions from `length` on can be forgotten and computed again.
bool KvCache::rewinds(const Sequence& sequence, int64_t length) const {
  if (length == sequence.length) return true;
  if (state_bytes_ > 0) return false;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (sequence.rings[i].begin * kBlock > first_read(groups_[i].window, length)) return false;
  }
  return true;
}

int64_t KvCache::truncate(SequenceId id, int64_t length) {
  Sequence& sequence = at(id);
  if (length < sequence.length) {
    sequence.length = rewinds(sequence, length) ? length : 0;
    clear_states(id);
  }
  drop_chunks(sequence, blocks_for(sequence.length));
  return sequence.length;
}

core::Result<SequenceId> KvCache::fork(SequenceId source_id, int64_t length) {
  const Sequence& source = at(source_id);
  if (length < 0 || length > source.length) {
    return core::fail(ErrorCode::kInvalid, "cache", "fork at {} tokens; the sequence has {}", length, source.length);
  }
  LAMINA_ASSIGN(const SequenceId copy_id, open());
  if (!rewinds(source, length)) return copy_id;
  Sequence& copy = at(copy_id);
  copy.chunks = blocks_for(length);
  copy.length = length;
  for (size_t i = 0; i < groups_.size(); ++i) {
    Ring& ring = copy.rings[i];
    ring.begin = std::min(source.rings[i].begin, copy.chunks);
    for (int64_t chunk = 0; chunk < ring.begin; ++chunk) point(copy, i, chunk, nullptr);
    for (int64_t chunk = ring.begin; chunk < copy.chunks; ++chunk) {
      const int32_t block = source.rings[i].blocks[static_cast<size_t>(chunk % groups_[i].chunks)];
      groups_[i].pool.hold(block);
      set_chunk(copy, i, chunk, block);
    }
  }
  std::ranges::copy(states_of(source_id), states_of(copy_id).begin());
  return copy_id;
}

void KvCache::close(SequenceId id) {
  Sequence& sequence = at(id);
  drop_chunks(sequence, 0);
  sequence.length = 0;
  sequence.open = false;
}

void KvCache::write(int64_t visit, SequenceId id, int64_t position, const float* keys, const float* values) {
  const VisitShape& shape = visits_[static_cast<size_t>(visit)];
  const Place& place = places_[static_cast<size_t>(visit)];
  assert(position >= 0 && position < reserved(id));
  std::byte* chunk = block_of(at(id), place.group, position / kBlock) + place.offset;
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
  return {sequence.pointers.data() + index * sequence_blocks_, static_cast<size_t>(sequence.chunks)};
}

float* KvCache::state(int64_t visit, SequenceId id) {
  return reinterpret_cast<float*>(states_of(id).data() + places_[static_cast<size_t>(visit)].state);
}

std::span<std::byte> KvCache::states_of(SequenceId id) {
  return states_at(id.index);
}

std::span<std::byte> KvCache::states_at(int64_t place) {
  const auto size = static_cast<size_t>(state_bytes_);
  return {states_.data() + static_cast<size_t>(place) * size, size};
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

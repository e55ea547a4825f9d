// What KvCache keeps of texts for others that begin alike.
#include <algorithm>
#include <cassert>

#include "cache/kv_cache.h"

namespace lamina::cache {

namespace {

constexpr int64_t kBlock = kernels::kChunkKeys;

}  // namespace

void KvCache::keep(SequenceId id, std::span<const int32_t> tokens, const std::string& family, bool whole_blocks) {
  Sequence& sequence = at(id);
  int64_t length = std::min(sequence.length, std::ssize(tokens));
  if (whole_blocks) length -= length % kBlock;
  if (length <= 0) return;
  PrefixNode* node = kept_.root(family);
  for (int64_t begin = 0; begin < length; begin += kBlock) {
    const auto piece =
        tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(kBlock, length - begin)));
    node = keep_piece(sequence, node, piece);
  }
  if (length == sequence.length && node->end == length) keep_state(id, *node);
  kept_.touch(node);
}

/// The piece of the tree with these tokens, of which the sequence has the blocks.
PrefixNode* KvCache::keep_piece(Sequence& sequence, PrefixNode* parent, std::span<const int32_t> tokens) {
  const int64_t chunk = parent->end / kBlock;
  int64_t agreed = 0;
  PrefixNode* there = PrefixTree::best_child(*parent, tokens, agreed);
  const bool covers = there != nullptr && agreed == std::ssize(tokens);
  const bool same = covers && agreed == std::ssize(there->tokens);
  // A state stands for its very tokens; keys and values are as good behind them.
  if (same || (covers && state_bytes_ == 0)) {
    if (same) share_chunk(sequence, chunk, *there);
    return there;
  }
  PrefixNode* node = kept_.add(parent, tokens, groups_.size());
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (!has_chunk(sequence, i, chunk)) continue;
    node->blocks[i] = slot(sequence, i, chunk);
    groups_[i].pool.keep(node->blocks[i]);
  }
  // What was kept of this text's beginning has grown.
  const bool grown = there != nullptr && agreed == std::ssize(there->tokens) && there->state < 0;
  if (grown && there->children.empty()) {
    forget(*there);
    kept_.remove(there);
  }
  return node;
}

/// Lets the sequence use the piece's blocks instead of its own, which hold the same, and the piece what it lacks.
void KvCache::share_chunk(Sequence& sequence, int64_t chunk, PrefixNode& node) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (!has_chunk(sequence, i, chunk)) continue;
    const int32_t own = slot(sequence, i, chunk);
    BlockPool& pool = groups_[i].pool;
    if (node.blocks[i] == own) continue;
    if (node.blocks[i] < 0) {
      node.blocks[i] = own;
      pool.keep(own);
      continue;
    }
    pool.hold(node.blocks[i]);
    set_chunk(sequence, i, chunk, node.blocks[i]);
    pool.drop(own);
  }
}

void KvCache::keep_state(SequenceId id, PrefixNode& node) {
  if (kept_states_.size() == 0 || node.state >= 0) return;
  if (kept_states_.free() == 0) {
    PrefixNode* oldest = kept_.oldest([](const PrefixNode& one) { return one.state >= 0; });
    kept_states_.drop(oldest->state);
    oldest->state = -1;
    ++evicted_;
  }
  node.state = kept_states_.take();
  std::ranges::copy(states_of(id), states_at(std::ssize(sequences_) + node.state).begin());
}

int64_t KvCache::resume(SequenceId id, std::span<const int32_t> tokens, const std::string& family) {
  Sequence& sequence = at(id);
  assert(sequence.length == 0 && sequence.chunks == 0);
  if (tokens.empty()) return 0;
  // The last token is computed in any case, for its logits.
  const PrefixTree::Match match = kept_.find(family, tokens.first(tokens.size() - 1));
  size_t count = match.path.size();
  int64_t length = match.length;
  while (count > 0 && !can_resume(match, count - 1, length)) {
    --count;
    length = count > 0 ? match.path[count - 1]->end : 0;
  }
  if (count == 0) return 0;
  sequence.chunks = static_cast<int64_t>(count);
  sequence.length = length;
  for (size_t i = 0; i < groups_.size(); ++i) {
    int64_t& begin = sequence.rings[i].begin;
    begin = first_read(groups_[i].window, length) / kBlock;
    for (int64_t chunk = 0; chunk < begin; ++chunk) point(sequence, i, chunk, nullptr);
    for (int64_t chunk = begin; chunk < sequence.chunks; ++chunk) {
      const int32_t block = match.path[static_cast<size_t>(chunk)]->blocks[i];
      groups_[i].pool.hold(block);
      set_chunk(sequence, i, chunk, block);
    }
  }
  PrefixNode* last = match.path[count - 1];
  if (state_bytes_ > 0) std::ranges::copy(states_at(std::ssize(sequences_) + last->state), states_of(id).begin());
  kept_.touch(last);
  return length;
}

core::Status KvCache::make_room(SequenceId id, int64_t length) {
  Sequence& sequence = at(id);
  assert(sequence.length == 0 && sequence.chunks == 0);
  const int64_t chunks = (length + kBlock - 1) / kBlock;
  if (length < 0 || chunks > sequence_blocks_ || chunks > free_blocks()) {
    return core::fail(core::ErrorCode::kLimit, "cache",
                      "{} tokens wanted; a sequence holds at most {}, and {} are free", length,
                      sequence_blocks_ * kBlock, free_blocks() * kBlock);
  }
  sequence.chunks = chunks;
  sequence.length = length;
  for (size_t i = 0; i < groups_.size(); ++i) {
    int64_t& begin = sequence.rings[i].begin;
    begin = std::min(first_read(groups_[i].window, length) / kBlock, chunks);
    for (int64_t chunk = 0; chunk < begin; ++chunk) point(sequence, i, chunk, nullptr);
    for (int64_t chunk = begin; chunk < chunks; ++chunk) set_chunk(sequence, i, chunk, take_block(i));
  }
  return {};
}

std::vector<std::span<std::byte>> KvCache::contents(SequenceId id) {
  Sequence& sequence = at(id);
  std::vector<std::span<std::byte>> all;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].block_bytes == 0) continue;
    const int64_t first = std::max(sequence.rings[i].begin, first_read(groups_[i].window, sequence.length) / kBlock);
    for (int64_t chunk = first; chunk < sequence.chunks; ++chunk)
      all.emplace_back(block_of(sequence, i, chunk), static_cast<size_t>(groups_[i].block_bytes));
  }
  if (state_bytes_ > 0) all.push_back(states_of(id));
  return all;
}

std::string KvCache::describe() const {
  std::string text = fmt::format("blocks of {}", kBlock);
  for (size_t i = 0; i < visits_.size(); ++i) {
    const VisitShape& visit = visits_[i];
    text += fmt::format("; {}x{}+{} {}{} window {} state {}", visit.kv_heads, visit.key_size, visit.value_size,
                        kernels::cache_format_name(visit.format), visit.joined ? " joined" : "",
                        groups_[places_[i].group].window, visit.state_floats);
  }
  return text;
}

/// Whether a text can go on after `length` tokens, the last of them in that piece of the path.
bool KvCache::can_resume(const PrefixTree::Match& match, size_t last, int64_t length) const {
  const PrefixNode& node = *match.path[last];
  if (state_bytes_ > 0 && (node.state < 0 || node.end != length)) return false;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const auto first = static_cast<size_t>(first_read(groups_[i].window, length) / kBlock);
    for (size_t chunk = first; chunk <= last; ++chunk) {
      if (match.path[chunk]->blocks[i] < 0) return false;
    }
  }
  return true;
}

/// Makes kept texts give up a block of the group; false when none can.
bool KvCache::reclaim(size_t group) {
  const auto idle = [&](const PrefixNode& node) {
    return node.blocks[group] >= 0 && groups_[group].pool.is_idle(node.blocks[group]);
  };
  if (group > 0) {
    // Of windows alone; the other keys and values of the piece are still of use.
    PrefixNode* node = kept_.oldest(idle);
    if (node == nullptr) return false;
    groups_[group].pool.give_up(node->blocks[group]);
    node->blocks[group] = -1;
    ++evicted_;
    return true;
  }
  PrefixNode* node = kept_.oldest([&](const PrefixNode& one) { return one.children.empty() && idle(one); });
  if (node == nullptr) return false;
  forget(*node);
  kept_.remove(node);
  ++evicted_;
  return true;
}

void KvCache::forget(PrefixNode& node) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (node.blocks[i] >= 0) groups_[i].pool.give_up(node.blocks[i]);
    node.blocks[i] = -1;
  }
  if (node.state >= 0) kept_states_.drop(node.state);
  node.state = -1;
}

}  // namespace lamina::cache

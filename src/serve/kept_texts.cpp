#include "serve/kept_texts.h"

#include <algorithm>

namespace lamina::serve {

namespace {

/// Fewer tokens than a block are computed faster than they are looked after.
constexpr size_t kLeastTokens = kernels::kChunkKeys;

size_t common_length(std::span<const int32_t> a, std::span<const int32_t> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

void KeptTexts::add(cache::SequenceId sequence, std::span<const int32_t> tokens, uint64_t tenant) {
  const auto length = static_cast<size_t>(runner_.length(sequence));
  if (length < kLeastTokens || length > tokens.size()) {
    runner_.close(sequence);
    return;
  }
  const auto computed = tokens.first(length);
  kept_.push_back({.sequence = sequence, .tokens = {computed.begin(), computed.end()}, .tenant = tenant});
}

cache::SequenceId KeptTexts::take(std::span<const int32_t> tokens, uint64_t tenant) {
  // The last token is computed in any case, for its logits.
  const auto wanted = tokens.first(tokens.size() - 1);
  size_t longest = 0;
  auto best = kept_.end();
  for (auto one = kept_.begin(); one != kept_.end(); ++one) {
    const size_t length = one->tenant == tenant ? common_length(one->tokens, wanted) : 0;
    if (length < kLeastTokens || length < longest) continue;
    longest = length;
    best = one;
  }
  if (best == kept_.end()) return {};
  const auto length = static_cast<int64_t>(longest);
  if (longest < best->tokens.size()) {
    // Others may go on from the rest of it: a copy, if there is room for one.
    std::rotate(best, best + 1, kept_.end());
    if (const auto copy = runner_.fork(kept_.back().sequence, length)) return *copy;
    best = kept_.end() - 1;
  }
  const cache::SequenceId sequence = best->sequence;
  kept_.erase(best);
  std::ignore = runner_.truncate(sequence, length);
  return sequence;
}

bool KeptTexts::evict() {
  if (kept_.empty()) return false;
  runner_.close(kept_.front().sequence);
  kept_.erase(kept_.begin());
  ++evicted_;
  return true;
}

int64_t KeptTexts::blocks() const {
  int64_t blocks = 0;
  for (const Kept& one : kept_) blocks += runner_.cache().reserved(one.sequence) / kernels::kChunkKeys;
  return blocks;
}

}  // namespace lamina::serve

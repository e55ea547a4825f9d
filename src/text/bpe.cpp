#include "text/bpe.h"

#include <algorithm>
#include <climits>
#include <queue>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

/// Up to this many symbols, scanning for the lowest rank beats a heap.
constexpr size_t kShortWord = 48;
constexpr uint32_t kNoRank = UINT32_MAX;

/// What is known of a token's own text.
enum Whole : uint8_t { kUnasked, kWhole, kCut };

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

struct Found {
  uint32_t rank = kNoRank;
  int32_t merged = -1;
};

Found find_merge(const FlatMap& merges, int32_t left, int32_t right) {
  const uint64_t* value = merges.find(pair_key(left, right));
  if (value == nullptr) return {};
  return {static_cast<uint32_t>(*value >> 32), static_cast<int32_t>(*value & 0xFFFFFFFF)};
}

}  // namespace

core::Result<std::unique_ptr<TokenModel>> BpeModel::make(const std::vector<std::pair<std::string, int32_t>>& vocabulary,
                                                         const std::vector<BpeMerge>& merges, BpeOptions options) {
  std::unique_ptr<BpeModel> model(new BpeModel);
  model->options_ = std::move(options);
  for (const auto& [key, id] : vocabulary) {
    // An entry that is not written in the byte alphabet cannot come from text.
    const auto raw = model->options_.raw_bytes ? from_byte_characters(key) : std::optional<std::string>(key);
    if (raw && !model->tokens_.insert(*raw, id)) {
      return core::fail(core::ErrorCode::kCorrupt, "vocabulary", "token \"{}\" occurs twice", key);
    }
  }
  model->merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    // Of two equal pairs the first, which has the lower rank, counts.
    model->merges_.insert(pair_key(merge.left, merge.right),
                          (static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(merge.merged));
  }
  model->index_bytes(vocabulary);
  int32_t largest = -1;
  for (const auto& entry : vocabulary) largest = std::max(largest, entry.second);
  model->whole_ = std::make_unique<std::atomic<uint8_t>[]>(static_cast<size_t>(largest) + 1);
  if (model->options_.ignore_merges) {
    for (int32_t id = 0; id <= largest; ++id) model->whole_[static_cast<size_t>(id)] = kWhole;
  }
  return std::unique_ptr<TokenModel>(std::move(model));
}

void BpeModel::index_bytes(const std::vector<std::pair<std::string, int32_t>>& vocabulary) {
  byte_.fill(-1);
  if (options_.raw_bytes) {
    for (size_t byte = 0; byte < 256; ++byte) byte_[byte] = tokens_.find(std::string(1, static_cast<char>(byte)));
    all_bytes_ = std::ranges::none_of(byte_, [](int32_t id) { return id < 0; }) && options_.continuing_prefix.empty() &&
                 options_.end_suffix.empty();
  } else if (options_.byte_fallback) {
    for (const auto& [key, id] : vocabulary) {
      if (const auto byte = byte_token(key)) byte_[*byte] = id;
    }
  }
}

core::Status BpeModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const int32_t id = tokens_.find(word);
  if (id < 0) {
    encode_merging(word, ids);
    return {};
  }
  std::atomic<uint8_t>& state = whole_[static_cast<size_t>(id)];
  uint8_t known = state.load(std::memory_order_relaxed);
  if (known == kUnasked) {
    const size_t before = ids.size();
    encode_merging(word, ids);
    known = ids.size() == before + 1 && ids.back() == id ? kWhole : kCut;
    state.store(known, std::memory_order_relaxed);
    return {};
  }
  if (known == kWhole) {
    ids.push_back(id);
  } else {
    encode_merging(word, ids);
  }
  return {};
}

void BpeModel::encode_merging(std::string_view word, std::vector<int32_t>& ids) const {
  thread_local std::vector<int32_t> symbols;
  symbols.clear();
  initial_symbols(word, symbols);
  if (symbols.size() <= kShortWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void BpeModel::initial_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  if (all_bytes_) {
    for (const char byte : word) symbols.push_back(byte_[static_cast<uint8_t>(byte)]);
    return;
  }
  const bool affixes = !options_.continuing_prefix.empty() || !options_.end_suffix.empty();
  int32_t pending = -1;
  std::string built;
  for (size_t position = 0; position < word.size();) {
    const size_t length = options_.raw_bytes ? 1 : utf8_length(word[position]);
    std::string_view character = word.substr(position, length);
    if (affixes) {
      built = position == 0 ? "" : options_.continuing_prefix;
      built += character;
      if (position + length == word.size()) built += options_.end_suffix;
      character = built;
    }
    position += length;
    add_character(character, pending, symbols);
  }
  if (pending >= 0) symbols.push_back(pending);
}

void BpeModel::add_character(std::string_view character, int32_t& pending, std::vector<int32_t>& symbols) const {
  const int32_t id = tokens_.find(character);
  if (id >= 0) {
    if (pending >= 0) symbols.push_back(pending);
    pending = -1;
    symbols.push_back(id);
    return;
  }
  if (options_.byte_fallback && !options_.raw_bytes &&
      std::ranges::none_of(character, [&](char byte) { return byte_[static_cast<uint8_t>(byte)] < 0; })) {
    for (const char byte : character) symbols.push_back(byte_[static_cast<uint8_t>(byte)]);
    return;
  }
  if (options_.unknown < 0) return;
  if (pending >= 0 && !options_.fuse_unknown) symbols.push_back(pending);
  pending = options_.unknown;
}

void BpeModel::merge_short(std::vector<int32_t>& symbols) const {
  if (symbols.size() < 2) return;
  std::array<Found, kShortWord> found;
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) found[i] = find_merge(merges_, symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (found[i].rank < found[best].rank) best = i;
    }
    if (found[best].rank == kNoRank) break;
    symbols[best] = found[best].merged;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      found[i] = found[i + 1];
    }
    --count;
    if (best > 0) found[best - 1] = find_merge(merges_, symbols[best - 1], symbols[best]);
    found[best] = best + 1 < count ? find_merge(merges_, symbols[best], symbols[best + 1]) : Found{};
  }
  symbols.resize(count);
}

void BpeModel::merge_long(std::vector<int32_t>& symbols) const {
  struct Candidate {
    uint32_t rank;
    uint32_t position;
    int32_t merged;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const size_t count = symbols.size();
  std::vector<size_t> next(count);
  std::vector<size_t> previous(count);
  std::vector<Candidate> first;
  const auto candidate = [&](size_t at, size_t right) -> Candidate {
    const Found found = find_merge(merges_, symbols[at], symbols[right]);
    return {found.rank, static_cast<uint32_t>(at), found.merged};
  };
  for (size_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    if (i + 1 < count && candidate(i, i + 1).rank != kNoRank) first.push_back(candidate(i, i + 1));
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{}, std::move(first));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const size_t at = top.position;
    // A candidate is stale when either neighbour has changed since.
    if (symbols[at] < 0 || next[at] >= count) continue;
    const size_t right = next[at];
    if (find_merge(merges_, symbols[at], symbols[right]).rank != top.rank) continue;
    symbols[at] = top.merged;
    symbols[right] = -1;
    next[at] = next[right];
    if (next[at] < count) previous[next[at]] = at;
    if (at > 0) {
      const Candidate left = candidate(previous[at], at);
      if (left.rank != kNoRank) queue.push(left);
    }
    if (next[at] < count) {
      const Candidate after = candidate(at, next[at]);
      if (after.rank != kNoRank) queue.push(after);
    }
  }
  std::erase_if(symbols, [](int32_t id) { return id < 0; });
}

}  // namespace lamina::text

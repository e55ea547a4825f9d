#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <queue>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

/// Up to this many symbols, scanning for the lowest rank beats a heap.
constexpr size_t kShortWord = 48;
constexpr uint64_t kNoRank = UINT64_MAX;
constexpr std::string_view kMetaspace = "\u2581";

/// What is known of a token's own text.
enum Whole : uint8_t { kUnasked, kWhole, kCut };

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

/// An integer that is the lower the higher the score is, and the same for both zeros.
uint32_t descending(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0F);
  return (bits & 0x80000000U) != 0 ? bits : 0x7FFFFFFFU - bits;
}

uint64_t fewer_last(std::string_view text) {
  return UINT32_MAX - static_cast<uint32_t>(count_characters(text));
}

}  // namespace

core::Result<std::unique_ptr<TokenModel>> BpeModel::make(const std::vector<std::pair<std::string, int32_t>>& vocabulary,
                                                         const std::vector<BpeMerge>& merges, BpeOptions options) {
  std::unique_ptr<BpeModel> model(new BpeModel);
  model->options_ = std::move(options);
  model->set_control(model->options_.control);
  LAMINA_CHECK_OK(model->index(vocabulary));
  model->merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    // Of two equal pairs the first, which has the lower rank, counts.
    const bool control = model->is_control(merge.merged);
    FlatMap& list = control ? model->control_merges_ : model->merges_;
    model->control_joins_ |= control;
    list.insert(pair_key(merge.left, merge.right),
                (static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(merge.merged));
  }
  return std::unique_ptr<TokenModel>(std::move(model));
}

core::Result<std::unique_ptr<TokenModel>> BpeModel::make_scored(
    const std::vector<std::pair<std::string, int32_t>>& vocabulary, std::span<const float> scores,
    std::vector<bool> joins, BpeOptions options) {
  std::unique_ptr<BpeModel> model(new BpeModel);
  model->options_ = std::move(options);
  model->set_control(model->options_.control);
  LAMINA_CHECK_OK(model->index(vocabulary));
  model->scores_.reserve(scores.size());
  for (const float score : scores) model->scores_.push_back(descending(score));
  model->joins_ = std::move(joins);
  return std::unique_ptr<TokenModel>(std::move(model));
}

core::Status BpeModel::index(const std::vector<std::pair<std::string, int32_t>>& vocabulary) {
  const bool affixes = !options_.continuing_prefix.empty() || !options_.end_suffix.empty();
  size_t bytes = 0;
  int32_t largest = -1;
  for (const auto& [key, id] : vocabulary) {
    bytes += key.size();
    largest = std::max(largest, id);
  }
  tokens_.reserve(vocabulary.size(), bytes);
  for (const auto& [key, id] : vocabulary) {
    // An entry that is not written in the byte alphabet cannot come from text.
    const auto raw = options_.raw_bytes ? from_byte_characters(key) : std::nullopt;
    if (options_.raw_bytes && !raw) continue;
    const std::string& text = raw ? *raw : key;
    const bool single = !text.empty() && text.size() == (raw ? 1 : utf8_length(text[0]));
    control_joins_ |= is_control(id) && (single || affixes);
    if (tokens_.insert(text, id)) continue;
    return core::fail(core::ErrorCode::kCorrupt, "vocabulary", "token \"{}\" occurs twice", key);
  }
  whole_ = std::make_unique<std::atomic<uint8_t>[]>(static_cast<size_t>(largest) + 1);
  if (options_.ignore_merges) {
    for (int32_t id = 0; id <= largest; ++id) whole_[static_cast<size_t>(id)] = kWhole;
  }
  index_bytes(vocabulary);
  index_cuts(vocabulary);
  return {};
}

void BpeModel::index_bytes(const std::vector<std::pair<std::string, int32_t>>& vocabulary) {
  byte_.fill(-1);
  if (options_.raw_bytes) {
    for (size_t byte = 0; byte < 256; ++byte) byte_[byte] = find_token({std::string(1, static_cast<char>(byte))});
    all_bytes_ = std::ranges::none_of(byte_, [](int32_t id) { return id < 0; }) && options_.continuing_prefix.empty() &&
                 options_.end_suffix.empty();
  } else if (options_.byte_fallback) {
    for (const auto& [key, id] : vocabulary) {
      if (is_control(id)) continue;
      if (const auto byte = byte_token(key)) byte_[*byte] = id;
    }
  }
}

/// A text that comes as one long word may be cut before a metaspace where no token holds it together with the character
/// before it: no merge crosses that place. The metaspace is a token itself, so unknown characters do not fuse across;
/// and none may vanish, which would bring others together.
void BpeModel::index_cuts(const std::vector<std::pair<std::string, int32_t>>& vocabulary) {
  const bool affixes = !options_.continuing_prefix.empty() || !options_.end_suffix.empty();
  const bool all_stay = options_.unknown >= 0 ||
                        (options_.byte_fallback && std::ranges::none_of(byte_, [](int32_t id) { return id < 0; }));
  cuts_ = !options_.raw_bytes && !options_.ignore_merges && !affixes && all_stay && find_token({kMetaspace}) >= 0;
  if (!cuts_) return;
  never_cuts_.push_back(U'\u2581');
  for (const auto& entry : vocabulary) {
    const std::string_view text = entry.first;
    for (size_t at = text.find(kMetaspace, 1); at != std::string_view::npos; at = text.find(kMetaspace, at + 1)) {
      size_t before = previous_start(text, at);
      never_cuts_.push_back(next_character(text, before));
    }
  }
  std::ranges::sort(never_cuts_);
  const auto twice = std::ranges::unique(never_cuts_);
  never_cuts_.erase(twice.begin(), twice.end());
}

size_t BpeModel::next_cut(std::string_view word, size_t begin) const {
  size_t at = word.find(kMetaspace, begin + 1);
  for (; at != std::string_view::npos; at = word.find(kMetaspace, at + 1)) {
    size_t before = previous_start(word, at);
    if (!std::ranges::binary_search(never_cuts_, next_character(word, before))) return at;
  }
  return word.size();
}

core::Status BpeModel::encode(std::string_view word, bool control, WordCache& cache, std::vector<int32_t>& ids) const {
  if (!cuts_) return TokenModel::encode(word, control, cache, ids);
  for (size_t begin = 0; begin < word.size();) {
    const size_t end = next_cut(word, begin);
    LAMINA_CHECK_OK(TokenModel::encode(word.substr(begin, end - begin), control, cache, ids));
    begin = end;
  }
  return {};
}

core::Status BpeModel::encode_anew(std::string_view text, bool control, std::vector<int32_t>& ids) const {
  const Word word{text, control};
  const int32_t id = find_token(word);
  if (id < 0 || (control && control_joins_ && !options_.ignore_merges)) {
    encode_merging(word, ids);
    return {};
  }
  std::atomic<uint8_t>& state = whole_[static_cast<size_t>(id)];
  const uint8_t known = state.load(std::memory_order_relaxed);
  if (known == kWhole) {
    ids.push_back(id);
    return {};
  }
  const size_t before = ids.size();
  encode_merging(word, ids);
  if (known == kUnasked) {
    const bool whole = ids.size() == before + 1 && ids.back() == id;
    state.store(whole ? kWhole : kCut, std::memory_order_relaxed);
  }
  return {};
}

void BpeModel::encode_merging(Word word, std::vector<int32_t>& ids) const {
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  const bool joined = initial_symbols(word, symbols);
  std::string kept;
  if (!joined && !scores_.empty()) {
    // Characters without any token vanish, and their neighbours may join.
    for (Symbol& symbol : symbols) {
      const size_t begin = kept.size();
      kept.append(word.text, symbol.begin, symbol.end - symbol.begin);
      symbol.begin = static_cast<uint32_t>(begin);
      symbol.end = static_cast<uint32_t>(kept.size());
    }
    word.text = kept;
  }
  if (symbols.size() <= kShortWord) {
    merge_short(word, symbols);
  } else {
    merge_long(word, symbols);
  }
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
}

/// False when a character vanished.
bool BpeModel::initial_symbols(Word input, std::vector<Symbol>& symbols) const {
  const std::string_view word = input.text;
  if (all_bytes_) {
    for (uint32_t i = 0; i < word.size(); ++i) symbols.push_back({byte_[static_cast<uint8_t>(word[i])], i, i + 1});
    return true;
  }
  const bool affixes = !options_.continuing_prefix.empty() || !options_.end_suffix.empty();
  Symbol pending;
  std::string built;
  bool joined = true;
  for (size_t position = 0; position < word.size();) {
    const size_t length = options_.raw_bytes ? 1 : utf8_length(word[position]);
    std::string_view character = word.substr(position, length);
    if (affixes) {
      built = position == 0 ? "" : options_.continuing_prefix;
      built += character;
      if (position + length == word.size()) built += options_.end_suffix;
      character = built;
    }
    const Symbol place{-1, static_cast<uint32_t>(position), static_cast<uint32_t>(position + length)};
    joined &= add_character({character, input.control}, place, pending, symbols);
    position += length;
  }
  if (pending.id >= 0) symbols.push_back(pending);
  return joined;
}

/// Adds the symbols of one character at `place`; `pending` is an unknown one that may still grow. False when there is
/// nothing to add.
bool BpeModel::add_character(Word word, Symbol place, Symbol& pending, std::vector<Symbol>& symbols) const {
  const std::string_view character = word.text;
  const int32_t id = find_token(word);
  if (id >= 0) {
    if (pending.id >= 0) symbols.push_back(pending);
    pending.id = -1;
    symbols.push_back({id, place.begin, place.end});
    return true;
  }
  if (options_.byte_fallback && !options_.raw_bytes &&
      std::ranges::none_of(character, [&](char byte) { return byte_[static_cast<uint8_t>(byte)] < 0; })) {
    for (uint32_t i = 0; i < character.size(); ++i) {
      // With affixes a symbol's place says no more than which character it belongs to.
      const uint32_t begin = std::min(place.begin + i, place.end - 1);
      symbols.push_back({byte_[static_cast<uint8_t>(character[i])], begin, begin + 1, false});
    }
    return true;
  }
  if (options_.unknown < 0) return false;
  if (pending.id >= 0 && options_.fuse_unknown) {
    pending.end = place.end;
    return true;
  }
  if (pending.id >= 0) symbols.push_back(pending);
  pending = {options_.unknown, place.begin, place.end, false};
  return true;
}

int32_t BpeModel::find_token(Word word) const {
  const int32_t id = tokens_.find(word.text);
  return !word.control && is_control(id) ? -1 : id;
}

BpeModel::Found BpeModel::find(Word word, const Symbol& left, const Symbol& right) const {
  if (!scores_.empty()) return find_scored(word.text, left, right);
  const uint64_t* value = merges_.find(pair_key(left.id, right.id));
  if (value == nullptr && word.control) value = control_merges_.find(pair_key(left.id, right.id));
  if (value == nullptr) return {};
  return {*value >> 32, 0, static_cast<int32_t>(*value & 0xFFFFFFFF)};
}

/// Of equal scores the pair with more characters on the left comes first, then with more on the right, then the lower
/// id.
BpeModel::Found BpeModel::find_scored(std::string_view word, const Symbol& left, const Symbol& right) const {
  if (!left.joins || !right.joins) return {};
  if (!joins_[static_cast<size_t>(left.id)] || !joins_[static_cast<size_t>(right.id)]) return {};
  const int32_t merged = tokens_.find(word.substr(left.begin, right.end - left.begin));
  if (merged < 0 || !joins_[static_cast<size_t>(merged)]) return {};
  const uint64_t rank =
      uint64_t{scores_[static_cast<size_t>(merged)]} << 32 | fewer_last(word.substr(left.begin, left.end - left.begin));
  return {rank, fewer_last(word.substr(right.begin, right.end - right.begin)) << 32 | static_cast<uint32_t>(merged),
          merged};
}

void BpeModel::merge_short(Word word, std::vector<Symbol>& symbols) const {
  if (symbols.size() < 2) return;
  std::array<Found, kShortWord> found;
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) found[i] = find(word, symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (found[i].comes_before(found[best])) best = i;
    }
    if (found[best].rank == kNoRank) break;
    symbols[best] = {found[best].merged, symbols[best].begin, symbols[best + 1].end};
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      found[i] = found[i + 1];
    }
    --count;
    if (best > 0) found[best - 1] = find(word, symbols[best - 1], symbols[best]);
    found[best] = best + 1 < count ? find(word, symbols[best], symbols[best + 1]) : Found{};
  }
  symbols.resize(count);
}

struct BpeModel::Candidate {
  Found found;
  uint32_t position = 0;
  int32_t left = -1;
  int32_t right = -1;
  bool operator>(const Candidate& other) const {
    if (other.found.comes_before(found)) return true;
    return !found.comes_before(other.found) && position > other.position;
  }
};

void BpeModel::merge_long(Word word, std::vector<Symbol>& symbols) const {
  const size_t count = symbols.size();
  std::vector<size_t> next(count);
  std::vector<size_t> previous(count);
  std::vector<Candidate> first;
  const auto candidate = [&](size_t at, size_t right) -> Candidate {
    return {find(word, symbols[at], symbols[right]), static_cast<uint32_t>(at), symbols[at].id, symbols[right].id};
  };
  for (size_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    if (i + 1 == count) break;
    const Candidate pair = candidate(i, i + 1);
    if (pair.found.rank != kNoRank) first.push_back(pair);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{}, std::move(first));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const size_t at = top.position;
    const size_t right = next[at];
    // A candidate is stale when either neighbour has changed since.
    if (symbols[at].id != top.left || right >= count || symbols[right].id != top.right) continue;
    symbols[at] = {top.found.merged, symbols[at].begin, symbols[right].end};
    symbols[right].id = -1;
    next[at] = next[right];
    if (next[at] < count) previous[next[at]] = at;
    if (at > 0) {
      const Candidate left = candidate(previous[at], at);
      if (left.found.rank != kNoRank) queue.push(left);
    }
    if (next[at] < count) {
      const Candidate after = candidate(at, next[at]);
      if (after.found.rank != kNoRank) queue.push(after);
    }
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.id < 0; });
}

}  // namespace lamina::text

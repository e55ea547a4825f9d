#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace lamina::text {
namespace {

constexpr size_t kMaxBytes = 1024;

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  size_t at = previous_start(text, text.size());
  return is_word(next_character(text, at));
}

bool starts_with_word(std::string_view text) {
  size_t at = 0;
  return !text.empty() && is_word(next_character(text, at));
}

size_t start_of_trailing_space(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t start = previous_start(text, end);
    size_t at = start;
    if (!is_white_space(next_character(text, at))) break;
    end = start;
  }
  return end;
}

size_t end_of_leading_space(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t at = begin;
    if (!is_white_space(next_character(text, at))) break;
    begin = at;
  }
  return begin;
}

}  // namespace

core::Status AddedTokenMatcher::add(const AddedToken& token, std::string_view content) {
  if (content.size() > kMaxBytes) {
    return core::fail(core::ErrorCode::kLimit, "added_tokens", "token {} is {} bytes long; at most {} expected",
                      token.id, content.size(), kMaxBytes);
  }
  if (content.empty()) return {};
  if (ends_.empty()) ends_.push_back(-1);
  uint64_t node = 0;
  for (const char c : content) {
    const uint64_t key = (node << 8) | static_cast<uint8_t>(c);
    if (const uint64_t* found = edges_.find(key)) {
      node = *found;
      continue;
    }
    node = ends_.size();
    ends_.push_back(-1);
    edges_.insert(key, node);
  }
  starts_[static_cast<uint8_t>(content[0])] = true;
  // Two tokens with one text: the first stands.
  if (ends_[node] < 0) ends_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  return {};
}

const AddedToken* AddedTokenMatcher::match(std::string_view text, size_t at, size_t& length) const {
  const AddedToken* best = nullptr;
  uint64_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const uint64_t* next = edges_.find((node << 8) | static_cast<uint8_t>(text[i]));
    if (next == nullptr) break;
    node = *next;
    if (ends_[node] >= 0) {
      best = &tokens_[static_cast<size_t>(ends_[node])];
      length = i + 1 - at;
    }
  }
  return best;
}

void AddedTokenMatcher::split(std::string_view text, bool parse_special, std::vector<Section>& out) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    size_t length = 0;
    const AddedToken* token = starts_[static_cast<uint8_t>(text[at])] ? match(text, at, length) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + length;
    at = end;
    if (token->special && !parse_special) continue;
    if (token->single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token->lstrip) {
      begin = begin > done ? done + start_of_trailing_space(text.substr(done), begin - done) : done;
    }
    if (token->rstrip) end = end_of_leading_space(text, end);
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token->id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

}  // namespace lamina::text

#include "text/token_trie.h"

#include <algorithm>
#include <numeric>

namespace lamina::text {

namespace {

/// Longer tokens than this are damage; a mask leaves them out.
constexpr size_t kLongest = 4096;

size_t common(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

TokenTrie::TokenTrie(std::span<const std::string> pieces) {
  std::vector<int32_t> order;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].empty() && pieces[i].size() <= kLongest) order.push_back(static_cast<int32_t>(i));
  }
  const auto piece = [&](int32_t token) -> const std::string& { return pieces[static_cast<size_t>(token)]; };
  std::ranges::sort(order, [&](int32_t a, int32_t b) {
    const int by_bytes = piece(a).compare(piece(b));
    return by_bytes != 0 ? by_bytes < 0 : a < b;
  });
  tokens_.reserve(order.size());
  std::vector<size_t> path;  // nodes from the root to the last token
  std::string_view last;
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      Node& node = nodes_[path.back()];
      node.next = static_cast<int32_t>(nodes_.size());
      if (path.size() > 1) {
        uint16_t& above = nodes_[path[path.size() - 2]].deepest;
        above = std::max(above, node.deepest);
      }
    }
  };
  for (const int32_t token : order) {
    const std::string& bytes = piece(token);
    leave(common(bytes, last));
    for (size_t depth = path.size(); depth < bytes.size(); ++depth) {
      path.push_back(nodes_.size());
      nodes_.push_back({.byte = static_cast<uint8_t>(bytes[depth]),
                        .depth = static_cast<uint16_t>(depth + 1),
                        .deepest = static_cast<uint16_t>(depth + 1),
                        .first = static_cast<int32_t>(tokens_.size())});
    }
    Node& node = nodes_[path.back()];
    if (node.tokens++ == 0) node.first = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(token);
    last = bytes;
    longest_ = std::max(longest_, static_cast<int>(bytes.size()));
  }
  leave(0);
}

std::span<const uint64_t> TokenBytes::up_to(int bytes) const {
  const std::lock_guard lock(lengths_->mutex);
  auto& masks = lengths_->masks;
  if (masks.empty()) masks.resize(static_cast<size_t>(inside_.longest()) + 1);
  auto& mask = masks[static_cast<size_t>(std::clamp(bytes, 0, inside_.longest()))];
  if (mask.empty()) {
    constexpr size_t kBits = 64;
    mask.assign((pieces_.size() + kBits - 1) / kBits, 0);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      if (std::ssize(pieces_[i]) <= bytes) mask[i / kBits] |= uint64_t{1} << (i % kBits);
    }
  }
  return mask;
}

core::Result<TokenBytes> TokenBytes::create(const Tokenizer& tokenizer) {
  if (!tokenizer.decodes_by_token()) {
    return core::fail(core::ErrorCode::kUnsupported, "tokenizer",
                      "what its tokens add to a text depends on their neighbours; no grammar can be kept to");
  }
  const auto count = static_cast<size_t>(tokenizer.vocabulary());
  std::vector<std::string> pieces(count);
  std::vector<std::string> begins(count);
  std::vector<int32_t> ends;
  std::vector<std::pair<int32_t, std::string>> controls;
  bool differs = false;
  for (size_t i = 0; i < count; ++i) {
    const auto id = static_cast<int32_t>(i);
    if (tokenizer.is_end(id)) ends.push_back(id);
    if (tokenizer.is_special(id)) {
      if (!tokenizer.is_end(id) && tokenizer.type(id) == TokenType::kControl)
        controls.emplace_back(id, tokenizer.piece(id));
      continue;
    }
    if (tokenizer.is_end(id) || tokenizer.type(id) == TokenType::kUnused) continue;
    pieces[i] = tokenizer.piece(id);
    begins[i] = tokenizer.first_piece(id);
    differs = differs || pieces[i] != begins[i];
  }
  TokenBytes bytes(std::move(pieces));
  bytes.ends_ = std::move(ends);
  bytes.controls_ = std::move(controls);
  if (differs) {
    bytes.begin_pieces_ = std::move(begins);
    bytes.begin_.emplace_back(bytes.begin_pieces_);
  }
  return bytes;
}

}  // namespace lamina::text

#include "text/score_merges.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "text/flat_map.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

/// Tokens that are cut at every character; the work grows with the square of the length.
constexpr size_t kMaxScoredBytes = 2048;

/// A scored pair; SentencePiece joins the pair whose union has the highest score.
struct ScoredMerge {
  BpeMerge merge;
  float score = 0.0F;
  size_t left_length = 0;
  size_t right_length = 0;
  size_t order = 0;  ///< decides between equals
};

/// Every way to cut a token into two tokens, in the order of preference of its own cuts.
core::Status cut_token(const TokenizerData& data, const StringMap& usable, int32_t id, std::vector<ScoredMerge>& out) {
  const std::string_view text = data.tokens[static_cast<size_t>(id)];
  if (text.size() > kMaxScoredBytes) {
    return core::fail(core::ErrorCode::kLimit, "tokenizer.ggml.tokens",
                      "token {} is {} bytes long; at most {} expected", id, text.size(), kMaxScoredBytes);
  }
  const size_t first = out.size();
  const size_t characters = count_characters(text);
  size_t position = 0;
  for (size_t length = 1; length < characters; ++length) {
    next_character(text, position);
    const int32_t left = usable.find(text.substr(0, position));
    const int32_t right = left < 0 ? -1 : usable.find(text.substr(position));
    if (right < 0) continue;
    out.push_back({{left, right, id}, data.scores[static_cast<size_t>(id)], length, characters - length, 0});
  }
  std::sort(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(), [](const auto& a, const auto& b) {
    return std::pair(a.merge.left, a.merge.right) < std::pair(b.merge.left, b.merge.right);
  });
  return {};
}

}  // namespace

core::Result<std::vector<BpeMerge>> merges_from_scores(const TokenizerData& data) {
  StringMap usable;
  const auto is_usable = [&](size_t id) {
    const TokenType type = data.types.empty() ? TokenType::kNormal : data.types[id];
    return type != TokenType::kControl && type != TokenType::kUnknown && type != TokenType::kByte;
  };
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (is_usable(id)) usable.insert(data.tokens[id], static_cast<int32_t>(id));
  }
  std::vector<ScoredMerge> scored;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (std::isnan(data.scores[id])) {
      return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "the score of token {} is not a number",
                        id);
    }
    if (is_usable(id)) LAMINA_CHECK_OK(cut_token(data, usable, static_cast<int32_t>(id), scored));
  }
  for (size_t i = 0; i < scored.size(); ++i) scored[i].order = i;
  std::ranges::sort(scored, [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tuple(b.score, b.left_length, b.right_length, a.order) <
           std::tuple(a.score, a.left_length, a.right_length, b.order);
  });
  std::vector<BpeMerge> out;
  out.reserve(scored.size());
  for (const ScoredMerge& item : scored) out.push_back(item.merge);
  return out;
}

}  // namespace lamina::text

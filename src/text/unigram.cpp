#include "text/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

/// How much less likely than the rarest piece an unknown character is (SentencePiece).
constexpr double kUnknownPenalty = 10.0;

}  // namespace

core::Result<std::unique_ptr<TokenModel>> UnigramModel::make(const std::vector<UnigramPiece>& pieces,
                                                             const std::function<bool(const UnigramPiece&)>& forbidden,
                                                             UnigramOptions options) {
  std::unique_ptr<UnigramModel> model(new UnigramModel);
  model->options_ = options;
  model->ends_.push_back(-1);
  model->bytes_.fill(-1);
  double lowest = std::numeric_limits<double>::infinity();
  for (const UnigramPiece& piece : pieces) {
    if (!std::isfinite(piece.score)) {
      return core::fail(core::ErrorCode::kCorrupt, "vocabulary", "the score of \"{}\" is {}", piece.text, piece.score);
    }
    lowest = std::min(lowest, piece.score);
    if (const auto byte = byte_token(piece.text)) model->bytes_[*byte] = piece.id;
  }
  std::vector<int32_t> control_ids;
  for (const bool control : {false, true}) {
    if (control) model->first_control_ = model->pieces_.size();
    for (const UnigramPiece& piece : pieces) {
      if (piece.control != control || piece.text.empty() || forbidden(piece)) continue;
      LAMINA_CHECK_OK(model->add_piece(piece));
      if (control) control_ids.push_back(piece.id);
    }
  }
  std::ranges::sort(control_ids);
  model->set_control(control_ids);
  model->unknown_score_ = lowest - kUnknownPenalty;
  return std::unique_ptr<TokenModel>(std::move(model));
}

core::Status UnigramModel::add_piece(const UnigramPiece& piece) {
  uint64_t node = 0;
  for (const char c : piece.text) {
    const uint64_t key = (node << 8) | static_cast<uint8_t>(c);
    if (const uint64_t* next = edges_.find(key)) {
      node = *next;
      continue;
    }
    node = ends_.size();
    ends_.push_back(-1);
    edges_.insert(key, node);
  }
  if (ends_[node] >= 0) {
    return core::fail(core::ErrorCode::kCorrupt, "vocabulary", "token \"{}\" occurs twice", piece.text);
  }
  ends_[node] = static_cast<int32_t>(pieces_.size());
  pieces_.emplace_back(piece.score, piece.id);
  return {};
}

void UnigramModel::fill(std::string_view word, bool control, std::vector<Node>& best) const {
  const auto allowed = static_cast<int32_t>(control ? pieces_.size() : first_control_);
  best.assign(word.size() + 1, Node{});
  const auto offer = [&](size_t end, double score, size_t begin, int32_t id) {
    Node& node = best[end];
    if (node.id == -2 || score > node.score) node = {score, begin, id};
  };
  for (size_t begin = 0; begin < word.size();) {
    const double here = best[begin].score;
    const size_t length = utf8_length(word[begin]);
    bool single = false;
    uint64_t node = 0;
    for (size_t at = begin; at < word.size(); ++at) {
      const uint64_t* next = edges_.find((node << 8) | static_cast<uint8_t>(word[at]));
      if (next == nullptr) break;
      node = *next;
      if (ends_[node] < 0 || ends_[node] >= allowed) continue;
      const auto& [score, id] = pieces_[static_cast<size_t>(ends_[node])];
      offer(at + 1, score + here, begin, id);
      single |= at + 1 == begin + length;
    }
    if (!single) offer(begin + length, unknown_score_ + here, begin, -1);
    begin += length;
  }
}

core::Status UnigramModel::encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const {
  thread_local std::vector<Node> best;
  thread_local std::vector<Node> path;
  thread_local std::vector<size_t> ends;
  fill(word, control, best);
  path.clear();
  ends.clear();
  for (size_t end = word.size(); end > 0; end = best[end].begin) {
    const Node& node = best[end];
    if (node.id == -1 && !path.empty() && path.back().id == -1) {
      path.back().begin = node.begin;
      continue;
    }
    path.push_back(node);
    ends.push_back(end);
  }
  for (size_t i = path.size(); i-- > 0;) {
    if (path[i].id >= 0) {
      ids.push_back(path[i].id);
    } else {
      LAMINA_CHECK_OK(add_unknown(word.substr(path[i].begin, ends[i] - path[i].begin), ids));
    }
  }
  return {};
}

core::Status UnigramModel::add_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  const auto byte_id = [&](char byte) { return bytes_[static_cast<uint8_t>(byte)]; };
  if (options_.byte_fallback && std::ranges::none_of(text, [&](char byte) { return byte_id(byte) < 0; })) {
    for (const char byte : text) ids.push_back(byte_id(byte));
    return {};
  }
  if (options_.unknown < 0) {
    return core::fail(core::ErrorCode::kInvalid, "text", "\"{}\" has no token, and the tokenizer no unknown token",
                      text.substr(0, 64));
  }
  ids.push_back(options_.unknown);
  return {};
}

}  // namespace lamina::text

#include "text/tokenizer_document.h"

#include <fmt/format.h>

#include "text/tokenizer_parts.h"

namespace lamina::text {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;

/// Receives the events of the parser. The tree is built in `root`; what lies in model.vocab and in model.merges never
/// becomes tree nodes, which would take most of the time of a load.
class Reader final : public nlohmann::json_sax<json> {
 public:
  explicit Reader(TokenizerDocument& out) : out_(out) {}

  bool null() override { return value(json()); }
  bool boolean(bool v) override { return value(json(v)); }
  bool number_integer(number_integer_t v) override {
    if (mode_ == Mode::kPiece) return piece_score(static_cast<double>(v));
    return mode_ == Mode::kVocabulary ? bad_id(std::to_string(v)) : value(json(v));
  }
  bool number_unsigned(number_unsigned_t v) override {
    if (mode_ == Mode::kPiece) return piece_score(static_cast<double>(v));
    if (mode_ != Mode::kVocabulary) return value(json(v));
    if (v >= static_cast<uint64_t>(kMaxVocabulary)) return bad_id(std::to_string(v));
    out_.vocabulary.emplace_back(std::move(key_), static_cast<int32_t>(v));
    return true;
  }
  bool number_float(number_float_t v, const string_t& text) override {
    if (mode_ == Mode::kPiece) return piece_score(v);
    return mode_ == Mode::kVocabulary ? bad_id(text) : value(json(v));
  }
  bool binary(binary_t& /*v*/) override { return false; }
  bool string(string_t& v) override {
    if (mode_ == Mode::kMerges) return merge_text(v);
    if (mode_ == Mode::kPair) {
      if (pair_size_ >= 2) return bad_merge("a list of more than two");
      (pair_size_++ == 0 ? pair_.first : pair_.second) = std::move(v);
      return true;
    }
    if (mode_ == Mode::kPiece) {
      if (pair_size_++ != 0) return bad_piece();
      piece_.first = std::move(v);
      return true;
    }
    return value(json(std::move(v)));
  }

  bool start_object(size_t /*elements*/) override {
    if (stack_.size() == 2 && model_ && key_ == "vocab" && mode_ == Mode::kTree) {
      // An empty object stays in the tree, so that the kind of list is known.
      if (!open(json::object())) return false;
      mode_ = Mode::kVocabulary;
      return true;
    }
    return open(json::object());
  }
  bool end_object() override { return close(); }
  bool start_array(size_t /*elements*/) override {
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kPair;
      pair_size_ = 0;
      return true;
    }
    if (mode_ == Mode::kPieces) {
      mode_ = Mode::kPiece;
      pair_size_ = 0;
      return true;
    }
    const bool long_list = stack_.size() == 2 && model_ && mode_ == Mode::kTree;
    const Mode inside = !long_list         ? Mode::kTree
                        : key_ == "merges" ? Mode::kMerges
                        : key_ == "vocab"  ? Mode::kPieces
                                           : Mode::kTree;
    if (!open(json::array())) return false;
    mode_ = inside;
    if (inside == Mode::kMerges) out_.merges.emplace();
    return true;
  }
  bool end_array() override {
    if (mode_ == Mode::kPiece) {
      if (pair_size_ != 2) return bad_piece();
      mode_ = Mode::kPieces;
      out_.pieces.push_back(std::move(piece_));
      return true;
    }
    if (mode_ != Mode::kPair) return close();
    if (pair_size_ != 2) return bad_merge("a list of less than two");
    mode_ = Mode::kMerges;
    out_.merges->push_back(std::move(pair_));
    return true;
  }
  bool key(string_t& v) override {
    key_ = std::move(v);
    if (mode_ == Mode::kVocabulary) return true;  // the model's own index finds what occurs twice
    if (stack_.back()->contains(key_)) return fail(fmt::format("\"{}\" occurs twice in one object", key_));
    if (stack_.size() == 1) model_ = key_ == "model";
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/, const json::exception& /*e*/) override {
    return fail(fmt::format("is not JSON from byte {} on", position));
  }

  const std::string& problem() const { return problem_; }

 private:
  enum class Mode { kTree, kVocabulary, kMerges, kPair, kPieces, kPiece };

  bool fail(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
    return false;
  }
  bool bad_id(std::string_view id) {
    return fail(fmt::format("model vocab: the id of \"{}\" is {}; 0 to {} expected", key_, id, kMaxVocabulary - 1));
  }
  bool bad_merge(std::string_view what) {
    return fail(fmt::format("model merges: merge {} is {}; two tokens expected", out_.merges->size(), what));
  }

  bool bad_piece() { return fail(fmt::format("model vocab: piece {} must be [text, score]", out_.pieces.size())); }

  bool piece_score(double score) {
    if (pair_size_++ != 1) return bad_piece();
    piece_.second = score;
    return true;
  }

  bool merge_text(const std::string& text) {
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      return bad_merge("\"" + text + "\"");
    }
    out_.merges->emplace_back(text.substr(0, space), text.substr(space + 1));
    return true;
  }

  /// Puts a value where the reader stands; null when something else than a list's or an object's member is expected.
  json* put(json v) {
    if (stack_.empty()) {
      out_.root = std::move(v);
      return &out_.root;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(v));
    return &(parent[key_] = std::move(v));
  }
  bool value(json v) {
    if (mode_ == Mode::kPieces || mode_ == Mode::kPiece) return bad_piece();
    if (mode_ == Mode::kVocabulary) return bad_id(v.dump(-1, ' ', true, json::error_handler_t::replace));
    if (mode_ != Mode::kTree) return bad_merge(v.dump(-1, ' ', true, json::error_handler_t::replace));
    put(std::move(v));
    return true;
  }
  bool open(json v) {
    if (mode_ == Mode::kPieces || mode_ == Mode::kPiece) return bad_piece();
    if (mode_ == Mode::kVocabulary) return bad_id("a list or an object");
    if (mode_ != Mode::kTree) return bad_merge("an object or a list in a list");
    if (stack_.size() >= kMaxDepth) return fail(fmt::format("is nested deeper than {}", kMaxDepth));
    stack_.push_back(put(std::move(v)));
    return true;
  }
  bool close() {
    mode_ = Mode::kTree;
    stack_.pop_back();
    return true;
  }

  TokenizerDocument& out_;
  std::vector<json*> stack_;
  std::string key_;
  Mode mode_ = Mode::kTree;
  bool model_ = false;  ///< inside of the member "model" of the root
  MergeText pair_;
  PieceText piece_;
  int pair_size_ = 0;
  std::string problem_;
};

}  // namespace

core::Result<TokenizerDocument> read_tokenizer_document(std::string_view text, std::string_view place) {
  TokenizerDocument out;
  Reader reader(out);
  if (!json::sax_parse(text, &reader)) return core::fail(core::ErrorCode::kCorrupt, place, "{}", reader.problem());
  if (!out.root.is_object()) return core::fail(core::ErrorCode::kCorrupt, place, "is not a JSON object");
  return out;
}

}  // namespace lamina::text

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lamina::text {

/// The bytes of a vocabulary's tokens as a tree. Nodes lie in the order of a walk that goes down first, so that a walk
/// is a run over an array that leaves parts out.
class TokenTrie {
 public:
  struct Node {
    uint8_t byte = 0;
    uint16_t depth = 0;    ///< bytes to it, its own among them
    uint16_t deepest = 0;  ///< of the nodes from it on
    int32_t next = 0;      ///< the first node that is not below it
    int32_t first = 0;     ///< where its tokens begin
    int32_t tokens = 0;    ///< tokens whose bytes end here
  };

  /// `pieces`: bytes by token; empty ones are left out.
  explicit TokenTrie(std::span<const std::string> pieces);

  const std::vector<Node>& nodes() const { return nodes_; }
  std::span<const int32_t> tokens_of(const Node& node) const {
    return std::span(tokens_).subspan(static_cast<size_t>(node.first), static_cast<size_t>(node.tokens));
  }
  int longest() const { return longest_; }  ///< bytes of the longest token

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  int longest_ = 0;
};

/// What a tokenizer's tokens add to a text, for those that add something and are no control tokens.
class TokenBytes {
 public:
  /// kUnsupported: the tokenizer's text is not that of its tokens one by one.
  static core::Result<TokenBytes> create(const Tokenizer& tokenizer);

  const TokenTrie& inside() const { return inside_; }                                   ///< after other text
  const TokenTrie& begin() const { return begin_.empty() ? inside_ : begin_.front(); }  ///< at the begin of a text
  bool begins_otherwise() const { return !begin_.empty(); }
  const std::vector<int32_t>& ends() const { return ends_; }  ///< tokens that end a text
  /// Control tokens with the text that they are written as.
  const std::vector<std::pair<int32_t, std::string>>& controls() const { return controls_; }
  const std::string& inside_of(int32_t token) const { return pieces_[static_cast<size_t>(token)]; }
  const std::string& begin_of(int32_t token) const {
    return begin_pieces_.empty() ? inside_of(token) : begin_pieces_[static_cast<size_t>(token)];
  }
  /// Tokens of at most so many bytes, bit by bit.
  std::span<const uint64_t> up_to(int bytes) const;
  int32_t vocabulary() const { return static_cast<int32_t>(pieces_.size()); }

 private:
  explicit TokenBytes(std::vector<std::string> pieces) : pieces_(std::move(pieces)), inside_(pieces_) {}

  std::vector<std::string> pieces_;
  struct Lengths {
    std::mutex mutex;
    std::vector<std::vector<uint64_t>> masks;  ///< by bytes; empty until asked for
  };

  std::unique_ptr<Lengths> lengths_ = std::make_unique<Lengths>();
  std::vector<std::string> begin_pieces_;  ///< empty: as inside
  TokenTrie inside_;
  std::vector<TokenTrie> begin_;  ///< one, where tokens differ at the begin
  std::vector<int32_t> ends_;
  std::vector<std::pair<int32_t, std::string>> controls_;
};

}  // namespace lamina::text

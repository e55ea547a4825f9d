#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/grammar_machine.h"
#include "text/token_trie.h"

namespace lamina::text {

/// A set of tokens: bit i % 64 of word i / 64.
using TokenMask = std::vector<uint64_t>;

/// A grammar over a vocabulary, for any number of texts at once. What the tokens do inside one rule is found once for
/// each of its nodes: most tokens stay inside (in a string) or fail at once, and only those that end the rule are
/// looked at again with what lies around it.
class TokenGrammar {
 public:
  /// `controls`: control tokens that count as their text; others are never allowed. Errors as compile_program().
  static core::Result<std::shared_ptr<const TokenGrammar>> create(const Grammar& grammar,
                                                                  std::shared_ptr<const TokenBytes> bytes,
                                                                  const std::vector<int32_t>& controls = {});

  /// What can be known of the tokens at a node without what follows its rule.
  struct Inside {
    TokenMask mask{};               ///< allowed; empty: see `few`
    std::vector<int32_t> few{};     ///< allowed, where they are few
    std::vector<int32_t> leaves{};  ///< nodes of the tree where the rule has ended, and with which tokens go on
  };
  /// kLimit: too many ways.
  core::Result<std::shared_ptr<const Inside>> inside(int32_t node, int32_t count) const;
  /// Finds that of as many nodes as this many milliseconds allow, so that writing need not wait for it.
  void prepare(double milliseconds) const;

  const GrammarProgram& program() const { return program_; }
  const TokenBytes& bytes() const { return *bytes_; }
  const std::vector<std::pair<int32_t, std::string>>& controls() const { return controls_; }
  size_t words() const { return (static_cast<size_t>(bytes_->vocabulary()) + 63) / 64; }

 private:
  TokenGrammar() = default;
  int32_t like(int32_t node, int32_t count) const;
  core::Result<std::shared_ptr<const Inside>> find_inside(int32_t node, int32_t count) const;
  core::Status add_inside(int32_t node, int32_t count, int longer_than, Inside& out) const;

  GrammarProgram program_;
  std::shared_ptr<const TokenBytes> bytes_;
  std::vector<std::pair<int32_t, std::string>> controls_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<uint64_t, std::shared_ptr<const Inside>> known_;
  mutable size_t known_bytes_ = 0;
};

/// One text on its way through a grammar. Not for several threads at once.
class TokenMatcher {
 public:
  /// `at_begin`: the first token begins a text, where some tokenizers leave a space out. `may_end`: tokens that end a
  /// text are allowed where it may end.
  TokenMatcher(std::shared_ptr<const TokenGrammar> grammar, bool at_begin, bool may_end = true);

  /// The tokens that may come next; tokens that end the text are among them when it may end. No bits at all: the
  /// vocabulary cannot go on. kLimit: too many ways.
  core::Result<std::span<const uint64_t>> allowed();
  /// Takes a token; false when it was not allowed.
  bool accept(int32_t token);
  /// Whether the text may end here.
  bool complete() const { return place_ >= 0 && machine_.ends(place_); }
  /// Whether nothing but the end can follow.
  bool finished() const { return complete() && machine_.frames(place_).empty(); }

 private:
  core::Status find_allowed(TokenMask& mask);
  core::Status add_inside(int32_t frame, TokenMask& mask);

  std::shared_ptr<const TokenGrammar> grammar_;
  GrammarMachine machine_;
  int32_t place_;
  bool at_begin_;
  bool may_end_;
  std::unordered_map<int32_t, TokenMask> masks_;  ///< by place, of this text's last places
  std::vector<int32_t> path_;
};

}  // namespace lamina::text

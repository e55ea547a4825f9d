#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/automaton.h"

namespace lamina::text {

/// How the characters of an automaton are written.
enum class Spelling {
  kPlain,       ///< UTF-8
  kJsonString,  ///< between the quotes of a JSON string; where any character may stand, with all escapes
};

/// A context-free grammar over bytes: named rules made of expressions.
class Grammar {
 public:
  using Part = int32_t;  ///< an expression, by its number
  using Rule = int32_t;

  struct Expression {
    enum class Kind { kBytes, kCharacters, kRule, kSequence, kChoice, kRepeat };
    Kind kind = Kind::kSequence;
    std::string bytes{};
    std::shared_ptr<const Automaton> automaton{};
    Spelling spelling = Spelling::kPlain;
    Rule rule = 0;
    std::vector<Part> parts{};  ///< of a repeat: the one that is repeated
    int64_t least = 0;
    int64_t most = -1;  ///< -1: any number
  };
  struct NamedRule {
    std::string name;
    Part body = -1;  ///< -1: declared and not defined
  };

  Part bytes(std::string text);
  Part characters(Automaton automaton, Spelling spelling);
  Part rule(Rule rule);
  Part sequence(std::vector<Part> parts);
  Part choice(std::vector<Part> parts);  ///< of none: no text at all
  Part repeat(Part part, int64_t least, int64_t most);

  Rule declare(std::string name);
  void define(Rule rule, Part body) { rules_[static_cast<size_t>(rule)].body = body; }

  const std::vector<Expression>& expressions() const { return expressions_; }
  const std::vector<NamedRule>& rules() const { return rules_; }
  Rule root = 0;

 private:
  Part add(Expression expression);

  std::vector<Expression> expressions_;
  std::vector<NamedRule> rules_;
};

/// Reads a grammar in GBNF, the form of llama.cpp's grammar files: `root ::= "a" [0-9]+ | other`. Errors name the line.
core::Result<Grammar> parse_grammar(std::string_view source);

}  // namespace lamina::text

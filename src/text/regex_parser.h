#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "text/automaton.h"

namespace lamina::text {

/// A part of a regular expression.
struct RegexNode {
  enum class Kind { kCharacters, kSequence, kChoice, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;
  CharacterSet characters{};
  std::vector<RegexNode> parts{};  ///< of a repeat: the one that is repeated
  int64_t least = 0;
  int64_t most = -1;  ///< -1: any number
};

/// The syntax tree of `pattern`, as compile_regex() reads it.
core::Result<RegexNode> parse_regex(std::string_view pattern);

}  // namespace lamina::text

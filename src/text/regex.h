#pragma once

#include <string_view>

#include "text/automaton.h"

namespace lamina::text {

enum class RegexUse {
  kWhole,   ///< the whole text must match
  kSearch,  ///< some part of the text must match, as JSON schemas mean it
};

/// The texts that a regular expression matches, in the dialect of ECMA-262 (with the u flag): alternatives, groups,
/// classes, \d \w \s and \p of general categories, greedy and lazy quantifiers, ^ and $. Errors name the character:
/// kInvalid (syntax), kUnsupported (look-around, back references, word borders, flags), kLimit (too many states).
core::Result<Automaton> compile_regex(std::string_view pattern, RegexUse use);

}  // namespace lamina::text

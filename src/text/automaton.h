#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// Characters `first` to `last`.
struct CharacterRange {
  char32_t first = 0;
  char32_t last = 0;
};
/// Sorted, without overlaps; `sorted` makes it so.
using CharacterSet = std::vector<CharacterRange>;

inline constexpr char32_t kLastCharacter = 0x10FFFF;

CharacterSet sorted(CharacterSet set);
CharacterSet complement(const CharacterSet& set);

/// A deterministic automaton over characters: a set of texts. From every state an accepting one can be reached, so that
/// a text that is alive can be completed. State 0 begins; no states at all: no text.
struct Automaton {
  struct Edge {
    char32_t first = 0;
    char32_t last = 0;
    int32_t target = 0;
  };
  struct State {
    std::vector<Edge> edges{};  ///< by rising `first`
    bool accepts = false;
  };
  static constexpr size_t kMaxStates = 1 << 14;

  std::vector<State> states{};

  bool empty() const { return states.empty(); }
  bool matches(std::string_view text) const;
};

/// All texts.
Automaton any_text();
/// The texts of `set`'s characters with `least` to `most` of them; `most` -1: any number.
core::Result<Automaton> repeated_characters(const CharacterSet& set, int64_t least, int64_t most);
/// These texts and no others.
core::Result<Automaton> automaton_of(std::span<const std::string> texts);
/// Texts of both. kLimit: more than kMaxStates states.
core::Result<Automaton> intersect(const Automaton& a, const Automaton& b);
/// Texts of `a` that are not in `b`. Errors as above.
core::Result<Automaton> subtract(const Automaton& a, const Automaton& b);
/// Leaves states out that no text reaches or none leads on from.
Automaton trimmed(const Automaton& automaton);

}  // namespace lamina::text

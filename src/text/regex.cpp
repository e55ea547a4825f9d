#include "text/regex.h"

#include <algorithm>
#include <map>
#include <utility>

#include "text/regex_parser.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr size_t kMaxParts = 40'000;
/// Elements of all sets that a pattern may make: a bound on time.
constexpr size_t kMaxWork = 4'000'000;

/// An automaton with several ways at once, built part by part (Thompson 1968).
class Builder {
 public:
  struct State {
    CharacterSet characters{};
    int32_t target = -1;           ///< of the characters
    std::vector<int32_t> free{};   ///< without a character
    std::vector<int32_t> begin{};  ///< only at the text's begin
    std::vector<int32_t> end{};    ///< only at the text's end
  };

  /// Adds the part between two states.
  Status add(const RegexNode& node, int32_t from, int32_t to) {
    if (states.size() > kMaxParts) return fail(ErrorCode::kLimit, "pattern", "it is larger than {} parts", kMaxParts);
    switch (node.kind) {
      case RegexNode::Kind::kCharacters: {
        const int32_t state = make();
        at(from).free.push_back(state);
        at(state).characters = node.characters;
        at(state).target = to;
        return {};
      }
      case RegexNode::Kind::kBegin:
        at(from).begin.push_back(to);
        return {};
      case RegexNode::Kind::kEnd:
        at(from).end.push_back(to);
        return {};
      case RegexNode::Kind::kChoice:
        for (const RegexNode& part : node.parts) LAMINA_CHECK_OK(add(part, from, to));
        return {};
      case RegexNode::Kind::kSequence:
        return add_sequence(node, from, to);
      case RegexNode::Kind::kRepeat:
        return add_repeat(node, from, to);
    }
    return {};
  }

  int32_t make() {
    states.emplace_back();
    return static_cast<int32_t>(states.size() - 1);
  }
  State& at(int32_t state) { return states[static_cast<size_t>(state)]; }

  std::vector<State> states;

 private:
  Status add_sequence(const RegexNode& node, int32_t from, int32_t to) {
    for (const RegexNode& part : node.parts) {
      const int32_t next = make();
      LAMINA_CHECK_OK(add(part, from, next));
      from = next;
    }
    at(from).free.push_back(to);
    return {};
  }

  Status add_repeat(const RegexNode& node, int32_t from, int32_t to) {
    const RegexNode& part = node.parts.front();
    for (int64_t i = 0; i < node.least; ++i) {
      const int32_t next = make();
      LAMINA_CHECK_OK(add(part, from, next));
      from = next;
    }
    if (node.most < 0) {
      const int32_t loop = make();
      at(from).free.push_back(loop);
      LAMINA_CHECK_OK(add(part, loop, loop));
      at(loop).free.push_back(to);
      return {};
    }
    for (int64_t i = node.least; i < node.most; ++i) {
      at(from).free.push_back(to);
      const int32_t next = make();
      LAMINA_CHECK_OK(add(part, from, next));
      from = next;
    }
    at(from).free.push_back(to);
    return {};
  }
};

/// Makes one way of many: its states are sets of the builder's. An element is twice a state, plus 1 where the text must
/// have ended.
class Determinizer {
 public:
  Determinizer(const std::vector<Builder::State>& states, int32_t last)
      : states_(states), last_(last), seen_(states.size() * 2) {}

  Result<Automaton> run(int32_t start) {
    LAMINA_CHECK_OK(number_of(closure({start * 2}, true)));
    for (size_t i = 0; i < sets_.size(); ++i) {
      const std::vector<int32_t> set = sets_[i];
      std::vector<char32_t> borders;
      for (const int32_t element : set) {
        if (element % 2 != 0) continue;
        for (const CharacterRange& range : states_[static_cast<size_t>(element / 2)].characters) {
          borders.push_back(range.first);
          borders.push_back(range.last + 1);
        }
      }
      std::ranges::sort(borders);
      borders.erase(std::ranges::unique(borders).begin(), borders.end());
      for (size_t k = 0; k + 1 < borders.size(); ++k) {
        std::vector<int32_t> next;
        for (const int32_t element : set) {
          const auto& state = states_[static_cast<size_t>(element / 2)];
          if (element % 2 == 0 && contains(state.characters, borders[k])) next.push_back(state.target * 2);
        }
        if (next.empty()) continue;
        LAMINA_ASSIGN(const int32_t target, number_of(closure(std::move(next), false)));
        out_.states[i].edges.push_back({borders[k], borders[k + 1] - 1, target});
      }
    }
    return trimmed(out_);
  }

 private:
  static bool contains(const CharacterSet& set, char32_t c) {
    const auto after = std::ranges::upper_bound(set, c, {}, &CharacterRange::first);
    return after != set.begin() && std::prev(after)->last >= c;
  }

  std::vector<int32_t> closure(std::vector<int32_t> work, bool at_begin) {
    std::vector<int32_t> out;
    ++round_;
    while (!work.empty()) {
      const int32_t element = work.back();
      work.pop_back();
      if (std::exchange(seen_[static_cast<size_t>(element)], round_) == round_) continue;
      out.push_back(element);
      const auto& state = states_[static_cast<size_t>(element / 2)];
      for (const int32_t target : state.free) work.push_back(target * 2 + element % 2);
      for (const int32_t target : state.end) work.push_back(target * 2 + 1);
      if (!at_begin) continue;
      for (const int32_t target : state.begin) work.push_back(target * 2 + element % 2);
    }
    std::ranges::sort(out);
    work_ += out.size();
    return out;
  }

  Result<int32_t> number_of(std::vector<int32_t> set) {
    const auto [entry, added] = numbers_.emplace(std::move(set), static_cast<int32_t>(sets_.size()));
    if (!added) return entry->second;
    if (sets_.size() >= Automaton::kMaxStates || work_ > kMaxWork)
      return fail(ErrorCode::kLimit, "pattern", "it needs more than {} states, or too long to find them",
                  Automaton::kMaxStates);
    sets_.push_back(entry->first);
    const auto accepts = [&](int32_t element) { return element / 2 == last_; };
    out_.states.push_back({.accepts = std::ranges::any_of(entry->first, accepts)});
    return entry->second;
  }

  const std::vector<Builder::State>& states_;
  int32_t last_;
  std::vector<uint32_t> seen_;  ///< by element: the last closure that had it
  uint32_t round_ = 0;
  size_t work_ = 0;
  std::map<std::vector<int32_t>, int32_t> numbers_;
  std::vector<std::vector<int32_t>> sets_;
  Automaton out_;
};

}  // namespace

Result<Automaton> compile_regex(std::string_view pattern, RegexUse use) {
  LAMINA_ASSIGN(const RegexNode node, parse_regex(pattern));
  Builder builder;
  const int32_t start = builder.make();
  const int32_t from = builder.make();
  const int32_t to = builder.make();
  const int32_t last = builder.make();
  builder.at(start).free.push_back(from);
  builder.at(to).free.push_back(last);
  LAMINA_CHECK_OK(builder.add(node, from, to));
  if (use == RegexUse::kSearch) {
    const RegexNode any{.kind = RegexNode::Kind::kCharacters, .characters = {{0, kLastCharacter}}};
    LAMINA_CHECK_OK(builder.add(any, start, start));
    LAMINA_CHECK_OK(builder.add(any, last, last));
  }
  return Determinizer(builder.states, last).run(start);
}

}  // namespace lamina::text

#include "text/automaton.h"

#include <algorithm>
#include <map>
#include <utility>

#include "text/utf8.h"

namespace lamina::text {

using core::ErrorCode;
using core::fail;
using core::Result;

CharacterSet sorted(CharacterSet set) {
  std::ranges::sort(set, {}, &CharacterRange::first);
  CharacterSet out;
  for (const CharacterRange& range : set) {
    if (range.first > range.last) continue;
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CharacterSet complement(const CharacterSet& set) {
  CharacterSet out;
  char32_t next = 0;
  for (const CharacterRange& range : set) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCharacter) out.push_back({next, kLastCharacter});
  return out;
}

bool Automaton::matches(std::string_view text) const {
  if (empty() || valid_prefix(text) != text.size()) return false;
  size_t state = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    const auto edge =
        std::ranges::find_if(states[state].edges, [&](const Edge& e) { return c >= e.first && c <= e.last; });
    if (edge == states[state].edges.end()) return false;
    state = static_cast<size_t>(edge->target);
  }
  return states[state].accepts;
}

Automaton any_text() {
  return {.states = {{.edges = {{0, kLastCharacter, 0}}, .accepts = true}}};
}

Result<Automaton> repeated_characters(const CharacterSet& set, int64_t least, int64_t most) {
  const int64_t count = most < 0 ? least : most;
  if (count >= static_cast<int64_t>(Automaton::kMaxStates))
    return fail(ErrorCode::kLimit, "length", "{} characters; less than {} expected", count, Automaton::kMaxStates);
  Automaton out;
  for (int64_t i = 0; i <= count; ++i) {
    Automaton::State state{.accepts = i >= least};
    const bool ends = i == count;
    if (!ends || most < 0) {
      for (const CharacterRange& range : set)
        state.edges.push_back({range.first, range.last, static_cast<int32_t>(ends ? i : i + 1)});
    }
    out.states.push_back(std::move(state));
  }
  return trimmed(out);
}

Result<Automaton> automaton_of(std::span<const std::string> texts) {
  Automaton out;
  if (texts.empty()) return out;
  out.states.emplace_back();
  for (const std::string& text : texts) {
    size_t state = 0;
    for (size_t at = 0; at < text.size();) {
      const char32_t c = next_character(text, at);
      auto& edges = out.states[state].edges;
      const auto place = std::ranges::lower_bound(edges, c, {}, &Automaton::Edge::first);
      if (place != edges.end() && place->first == c) {
        state = static_cast<size_t>(place->target);
        continue;
      }
      const auto target = static_cast<int32_t>(out.states.size());
      edges.insert(place, {c, c, target});
      out.states.emplace_back();
      state = static_cast<size_t>(target);
      if (out.states.size() > Automaton::kMaxStates)
        return fail(ErrorCode::kLimit, "texts", "more than {} characters in all", Automaton::kMaxStates);
    }
    out.states[state].accepts = true;
  }
  return out;
}

Automaton trimmed(const Automaton& automaton) {
  const size_t size = automaton.states.size();
  std::vector<std::vector<size_t>> sources(size);
  std::vector<bool> useful(size);
  std::vector<size_t> work;
  for (size_t i = 0; i < size; ++i) {
    for (const auto& edge : automaton.states[i].edges) sources[static_cast<size_t>(edge.target)].push_back(i);
    if (automaton.states[i].accepts) {
      useful[i] = true;
      work.push_back(i);
    }
  }
  while (!work.empty()) {
    const size_t state = work.back();
    work.pop_back();
    for (const size_t source : sources[state]) {
      if (useful[source]) continue;
      useful[source] = true;
      work.push_back(source);
    }
  }
  Automaton out;
  if (size == 0 || !useful[0]) return out;
  std::vector<int32_t> numbers(size, -1);
  std::vector<size_t> order{0};
  numbers[0] = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto& state = automaton.states[order[i]];
    Automaton::State kept{.accepts = state.accepts};
    for (const auto& edge : state.edges) {
      const auto target = static_cast<size_t>(edge.target);
      if (!useful[target]) continue;
      if (numbers[target] < 0) {
        numbers[target] = static_cast<int32_t>(order.size());
        order.push_back(target);
      }
      // Neighbours that lead to one state become one edge.
      const bool joins = !kept.edges.empty() && kept.edges.back().last + 1 == edge.first &&
                         kept.edges.back().target == numbers[target];
      if (joins) {
        kept.edges.back().last = edge.last;
      } else {
        kept.edges.push_back({edge.first, edge.last, numbers[target]});
      }
    }
    out.states.push_back(std::move(kept));
  }
  return out;
}

namespace {

constexpr int32_t kDead = -1;

/// Where an automaton goes from a state; a dead state stays dead.
const Automaton::Edge* edge_at(const Automaton& automaton, int32_t state, char32_t c) {
  if (state == kDead) return nullptr;
  for (const auto& edge : automaton.states[static_cast<size_t>(state)].edges) {
    if (c >= edge.first && c <= edge.last) return &edge;
  }
  return nullptr;
}

/// Characters at which the edges of a state begin, or end before.
void add_borders(const Automaton& automaton, int32_t state, std::vector<char32_t>& borders) {
  if (state == kDead) return;
  for (const auto& edge : automaton.states[static_cast<size_t>(state)].edges) {
    borders.push_back(edge.first);
    borders.push_back(edge.last + 1);
  }
}

/// Pairs of states that texts reach; `without`: texts of `b` are left out instead of asked for.
Result<Automaton> combine(const Automaton& a, const Automaton& b, bool without) {
  Automaton out;
  if (a.empty() || (b.empty() && !without)) return out;
  using Pair = std::pair<int32_t, int32_t>;
  std::map<Pair, int32_t> numbers;
  std::vector<Pair> order;
  const auto number_of = [&](const Pair& pair) {
    const auto [entry, added] = numbers.emplace(pair, static_cast<int32_t>(order.size()));
    if (added) order.push_back(pair);
    return entry->second;
  };
  number_of({0, b.empty() ? kDead : 0});
  for (size_t i = 0; i < order.size(); ++i) {
    if (order.size() > Automaton::kMaxStates)
      return fail(ErrorCode::kLimit, "pattern", "it and what goes with it need more than {} states",
                  Automaton::kMaxStates);
    const auto [left, right] = order[i];
    const bool in_b = right != kDead && b.states[static_cast<size_t>(right)].accepts;
    Automaton::State state{.accepts = a.states[static_cast<size_t>(left)].accepts && in_b != without};
    std::vector<char32_t> borders;
    add_borders(a, left, borders);
    add_borders(b, right, borders);
    std::ranges::sort(borders);
    borders.erase(std::ranges::unique(borders).begin(), borders.end());
    for (size_t k = 0; k < borders.size(); ++k) {
      const char32_t first = borders[k];
      const char32_t last = k + 1 < borders.size() ? borders[k + 1] - 1 : kLastCharacter;
      const auto* one = edge_at(a, left, first);
      const auto* other = edge_at(b, right, first);
      if (one == nullptr || (other == nullptr && !without)) continue;
      state.edges.push_back({first, last, number_of({one->target, other == nullptr ? kDead : other->target})});
    }
    out.states.push_back(std::move(state));
  }
  return trimmed(out);
}

}  // namespace

Result<Automaton> intersect(const Automaton& a, const Automaton& b) {
  return combine(a, b, false);
}

Result<Automaton> subtract(const Automaton& a, const Automaton& b) {
  return combine(a, b, true);
}

}  // namespace lamina::text

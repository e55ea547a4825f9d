#include "text/grammar_program.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "text/spelling.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using Expression = Grammar::Expression;
using Edge = GrammarProgram::Edge;

constexpr size_t kMaxNodes = 400'000;
constexpr int kMaxNesting = 2000;

/// What is true of expressions and rules, found by going over the rules until nothing new is true.
class Facts {
 public:
  explicit Facts(const Grammar& grammar)
      : grammar_(grammar), writes_(grammar.rules().size()), empty_(grammar.rules().size()) {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < grammar.rules().size(); ++i) {
        const Grammar::Part body = grammar.rules()[i].body;
        if (!writes_[i] && writes(body)) changed = writes_[i] = true;
        if (!empty_[i] && writes_[i] && may_be_empty(body)) changed = empty_[i] = true;
      }
    }
  }

  /// Whether there is a text for it.
  bool writes(Grammar::Part part) const {
    const Expression& own = grammar_.expressions()[static_cast<size_t>(part)];
    const auto each = [&](Grammar::Part one) { return writes(one); };
    switch (own.kind) {
      case Expression::Kind::kBytes:
        return true;
      case Expression::Kind::kCharacters:
        return !own.automaton->empty();
      case Expression::Kind::kRule:
        return writes_[static_cast<size_t>(own.rule)];
      case Expression::Kind::kSequence:
        return std::ranges::all_of(own.parts, each);
      case Expression::Kind::kChoice:
        return std::ranges::any_of(own.parts, each);
      case Expression::Kind::kRepeat:
        return own.least == 0 || writes(own.parts.front());
    }
    return false;
  }

  bool may_be_empty(Grammar::Part part) const {
    const Expression& own = grammar_.expressions()[static_cast<size_t>(part)];
    const auto each = [&](Grammar::Part one) { return writes(one) && may_be_empty(one); };
    switch (own.kind) {
      case Expression::Kind::kBytes:
        return own.bytes.empty();
      case Expression::Kind::kCharacters:
        return !own.automaton->empty() && own.automaton->states.front().accepts;
      case Expression::Kind::kRule:
        return empty_[static_cast<size_t>(own.rule)];
      case Expression::Kind::kSequence:
        return std::ranges::all_of(own.parts, each);
      case Expression::Kind::kChoice:
        return std::ranges::any_of(own.parts, each);
      case Expression::Kind::kRepeat:
        return own.least == 0 || each(own.parts.front());
    }
    return false;
  }

  /// Rules with which it may begin.
  void beginnings(Grammar::Part part, std::vector<Grammar::Rule>& out) const {
    const Expression& own = grammar_.expressions()[static_cast<size_t>(part)];
    if (own.kind == Expression::Kind::kRule) out.push_back(own.rule);
    for (const Grammar::Part one : own.parts) {
      if (!writes(one)) continue;
      beginnings(one, out);
      if (own.kind == Expression::Kind::kSequence && !may_be_empty(one)) return;
    }
  }

 private:
  const Grammar& grammar_;
  std::vector<bool> writes_;
  std::vector<bool> empty_;
};

/// A rule that begins with itself would be called without end.
Status check_recursion(const Grammar& grammar, const Facts& facts) {
  const size_t count = grammar.rules().size();
  std::vector<std::vector<Grammar::Rule>> begins(count);
  for (size_t i = 0; i < count; ++i) {
    if (facts.writes(grammar.rules()[i].body)) facts.beginnings(grammar.rules()[i].body, begins[i]);
  }
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(count);
  for (size_t root = 0; root < count; ++root) {
    if (marks[root] != Mark::kNew) continue;
    std::vector<std::pair<size_t, size_t>> path{{root, 0}};
    marks[root] = Mark::kOpen;
    while (!path.empty()) {
      auto& [rule, next] = path.back();
      if (next == begins[rule].size()) {
        marks[rule] = Mark::kDone;
        path.pop_back();
        continue;
      }
      const auto target = static_cast<size_t>(begins[rule][next++]);
      if (marks[target] == Mark::kOpen) {
        return fail(ErrorCode::kInvalid, "grammar",
                    "the rule {} begins with itself (left recursion); write it with a repetition",
                    grammar.rules()[target].name);
      }
      if (marks[target] == Mark::kNew) {
        marks[target] = Mark::kOpen;
        path.emplace_back(target, 0);
      }
    }
  }
  return {};
}

class Compiler {
 public:
  Compiler(const Grammar& grammar, const Facts& facts)
      : grammar_(grammar),
        facts_(facts),
        starts_(grammar.rules().size(), -1),
        spelling_([this] { return make(); },
                  [this](int32_t from, uint8_t low, uint8_t high, int32_t to) { add_bytes(from, low, high, to); }) {}

  Result<GrammarProgram> run() {
    const int32_t start = start_of(grammar_.root);
    while (!waiting_.empty()) {
      const auto [part, from] = waiting_.back();
      waiting_.pop_back();
      const int32_t end = make();
      ends_[static_cast<size_t>(end)] = true;
      depth_ = 0;
      loop_ = -1;
      LAMINA_CHECK_OK(add(part, from, end));
    }
    return finish(start);
  }

 private:
  int32_t make() {
    lists_.emplace_back();
    ends_.push_back(false);
    node_loops_.push_back(loop_);
    return static_cast<int32_t>(lists_.size() - 1);
  }
  void link(int32_t from, const Edge& edge) { lists_[static_cast<size_t>(from)].push_back(edge); }
  void add_bytes(int32_t from, uint8_t low, uint8_t high, int32_t to) {
    link(from, {.kind = Edge::Kind::kBytes, .low = low, .high = high, .target = to});
  }

  int32_t start_of(Grammar::Rule rule) {
    int32_t& start = starts_[static_cast<size_t>(rule)];
    if (start < 0) start = start_later(grammar_.rules()[static_cast<size_t>(rule)].body);
    return start;
  }
  /// A rule's first node; the rest is made when its turn comes.
  int32_t start_later(Grammar::Part body) {
    const int32_t loop = std::exchange(loop_, -1);
    const int32_t start = make();
    loop_ = loop;
    waiting_.emplace_back(body, start);
    return start;
  }

  Status add(Grammar::Part part, int32_t from, int32_t to) {
    if (lists_.size() > kMaxNodes) return fail(ErrorCode::kLimit, "grammar", "it needs more than {} nodes", kMaxNodes);
    if (depth_ > kMaxNesting) return fail(ErrorCode::kLimit, "grammar", "it is nested deeper than {}", kMaxNesting);
    const Expression& own = grammar_.expressions()[static_cast<size_t>(part)];
    switch (own.kind) {
      case Expression::Kind::kBytes:
        for (size_t i = 0; i < own.bytes.size(); ++i) {
          const int32_t next = i + 1 == own.bytes.size() ? to : make();
          const auto byte = static_cast<uint8_t>(own.bytes[i]);
          add_bytes(from, byte, byte, next);
          from = next;
        }
        if (own.bytes.empty()) link(from, {.target = to});
        return {};
      case Expression::Kind::kCharacters:
        return add_characters(own, from, to);
      case Expression::Kind::kRule:
        link(from, {.kind = Edge::Kind::kCall, .target = to, .callee = start_of(own.rule)});
        return {};
      case Expression::Kind::kSequence:
        return add_sequence(own, from, to);
      case Expression::Kind::kChoice:
        ++depth_;
        for (const Grammar::Part one : own.parts) {
          if (facts_.writes(one)) LAMINA_CHECK_OK(add(one, from, to));
        }
        --depth_;
        return {};
      case Expression::Kind::kRepeat:
        return add_repeat(own, from, to);
    }
    return {};
  }

  Status add_sequence(const Expression& own, int32_t from, int32_t to) {
    ++depth_;
    for (size_t i = 0; i < own.parts.size(); ++i) {
      const int32_t next = i + 1 == own.parts.size() ? to : make();
      LAMINA_CHECK_OK(add(own.parts[i], from, next));
      from = next;
    }
    --depth_;
    if (own.parts.empty()) link(from, {.target = to});
    return {};
  }

  Status add_characters(const Expression& own, int32_t from, int32_t to) {
    const Automaton& automaton = *own.automaton;
    if (lists_.size() + automaton.states.size() > kMaxNodes)
      return fail(ErrorCode::kLimit, "grammar", "it needs more than {} nodes", kMaxNodes);
    std::vector<int32_t> nodes;
    for (size_t i = 0; i < automaton.states.size(); ++i) nodes.push_back(make());
    link(from, {.target = nodes.front()});
    for (size_t i = 0; i < automaton.states.size(); ++i) {
      spelling_.add_state(automaton.states[i], own.spelling, nodes, i);
      if (automaton.states[i].accepts) link(nodes[i], {.target = to});
    }
    return {};
  }

  Status add_repeat(const Expression& own, int32_t from, int32_t to) {
    const Grammar::Part part = own.parts.front();
    if (own.most == 0 || !facts_.writes(part)) {
      link(from, {.target = to});
      return {};
    }
    ++depth_;
    const bool counts = own.least > 1 || own.most > 1;
    if (!counts) {
      LAMINA_CHECK_OK(add_plain_repeat(own, from, to));
    } else if (loop_ >= 0) {
      // A node carries one count, so a loop inside a loop becomes a rule of its own.
      link(from, {.kind = Edge::Kind::kCall, .target = to, .callee = start_later(part_of(own))});
    } else {
      LAMINA_CHECK_OK(add_counted_repeat(own, from, to));
    }
    --depth_;
    return {};
  }

  Grammar::Part part_of(const Expression& own) const {
    return static_cast<Grammar::Part>(&own - grammar_.expressions().data());
  }

  Status add_plain_repeat(const Expression& own, int32_t from, int32_t to) {
    if (own.most == 1) {
      if (own.least == 0) link(from, {.target = to});
      return add(own.parts.front(), from, to);
    }
    const int32_t begin = make();
    const int32_t end = make();
    link(from, {.target = begin});
    LAMINA_CHECK_OK(add(own.parts.front(), begin, end));
    link(end, {.target = begin});
    link(end, {.target = to});
    if (own.least == 0) link(from, {.target = to});
    return {};
  }

  Status add_counted_repeat(const Expression& own, int32_t from, int32_t to) {
    // Rounds of nothing fill up to the least number.
    const auto least = facts_.may_be_empty(own.parts.front()) ? 0 : static_cast<int32_t>(own.least);
    const auto most = static_cast<int32_t>(own.most);
    loops_.push_back({.least = least, .most = most});
    loop_ = static_cast<int32_t>(loops_.size() - 1);
    const int32_t head = make();
    const int32_t body = make();
    link(from, {.target = head});
    link(head, {.kind = Edge::Kind::kAgain, .target = body, .bound = most});
    link(head, {.kind = Edge::Kind::kLeave, .target = to, .bound = least});
    const Status status = add(own.parts.front(), body, head);
    loop_ = -1;
    return status;
  }

  Result<GrammarProgram> finish(int32_t start) {
    if (lists_.size() > kMaxNodes) return fail(ErrorCode::kLimit, "grammar", "it needs more than {} nodes", kMaxNodes);
    GrammarProgram program;
    program.start = start;
    program.loops = std::move(loops_);
    for (size_t i = 0; i < lists_.size(); ++i) {
      const bool reads = std::ranges::any_of(lists_[i], [](const Edge& e) { return e.kind == Edge::Kind::kBytes; });
      program.nodes.push_back({.first_edge = static_cast<int32_t>(program.edges.size()),
                               .edges = static_cast<int32_t>(lists_[i].size()),
                               .loop = node_loops_[i],
                               .ends = ends_[i],
                               .reads = reads});
      for (Edge edge : lists_[i]) {
        const auto target = static_cast<size_t>(edge.target);
        const bool last = edge.kind == Edge::Kind::kCall && ends_[target] && lists_[target].empty();
        if (last) edge.kind = Edge::Kind::kTail;
        program.edges.push_back(edge);
      }
    }
    return program;
  }

  const Grammar& grammar_;
  const Facts& facts_;
  std::vector<int32_t> starts_;
  std::vector<std::pair<Grammar::Part, int32_t>> waiting_;
  std::vector<std::vector<Edge>> lists_;
  std::vector<bool> ends_;
  std::vector<int32_t> node_loops_;
  std::vector<GrammarProgram::Loop> loops_;
  int32_t loop_ = -1;
  int depth_ = 0;
  SpellingWriter spelling_;
};

}  // namespace

Result<GrammarProgram> compile_program(const Grammar& grammar) {
  const Facts facts(grammar);
  if (!facts.writes(grammar.rules()[static_cast<size_t>(grammar.root)].body))
    return fail(ErrorCode::kInvalid, "grammar", "no text at all keeps to it");
  LAMINA_CHECK_OK(check_recursion(grammar, facts));
  return Compiler(grammar, facts).run();
}

}  // namespace lamina::text

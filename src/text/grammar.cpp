#include "text/grammar.h"

#include <utility>

namespace lamina::text {

Grammar::Part Grammar::add(Expression expression) {
  expressions_.push_back(std::move(expression));
  return static_cast<Part>(expressions_.size() - 1);
}

Grammar::Part Grammar::bytes(std::string text) {
  return add({.kind = Expression::Kind::kBytes, .bytes = std::move(text)});
}

Grammar::Part Grammar::characters(Automaton automaton, Spelling spelling) {
  return add({.kind = Expression::Kind::kCharacters,
              .automaton = std::make_shared<const Automaton>(std::move(automaton)),
              .spelling = spelling});
}

Grammar::Part Grammar::rule(Rule rule) {
  return add({.kind = Expression::Kind::kRule, .rule = rule});
}

Grammar::Part Grammar::sequence(std::vector<Part> parts) {
  return add({.kind = Expression::Kind::kSequence, .parts = std::move(parts)});
}

Grammar::Part Grammar::choice(std::vector<Part> parts) {
  return add({.kind = Expression::Kind::kChoice, .parts = std::move(parts)});
}

Grammar::Part Grammar::repeat(Part part, int64_t least, int64_t most) {
  return add({.kind = Expression::Kind::kRepeat, .parts = {part}, .least = least, .most = most});
}

Grammar::Rule Grammar::declare(std::string name) {
  rules_.push_back({.name = std::move(name)});
  return static_cast<Rule>(rules_.size() - 1);
}

}  // namespace lamina::text

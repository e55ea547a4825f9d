#pragma once

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "text/automaton.h"
#include "text/grammar.h"

namespace lamina::text {

/// Writes edges over characters as edges over bytes.
class SpellingWriter {
 public:
  using Make = std::function<int32_t()>;
  using Link = std::function<void(int32_t from, uint8_t low, uint8_t high, int32_t to)>;

  /// `make`: a new node; `link`: an edge of bytes between two nodes.
  SpellingWriter(Make make, Link link) : make_(std::move(make)), link_(std::move(link)) {}

  /// The edges of an automaton's state, whose states have these nodes.
  void add_state(const Automaton::State& state, Spelling spelling, const std::vector<int32_t>& nodes, size_t index);

 private:
  struct Bytes {
    uint8_t low = 0;
    uint8_t high = 0;
    auto operator<=>(const Bytes&) const = default;
  };
  using Row = std::vector<Bytes>;  ///< ranges of bytes, one after the other

  void add_row(int32_t from, const Row& row, int32_t to);
  int32_t tail(const Row& row, size_t begin, int32_t to);
  void add_plain(int32_t from, char32_t first, char32_t last, int32_t to);
  void split(char32_t first, char32_t last, std::vector<Row>& rows) const;
  void add_json(int32_t from, char32_t first, char32_t last, int32_t to);
  void add_any_json(int32_t from, int32_t to);
  void add_text(int32_t from, std::string_view text, int32_t to);

  Make make_;
  Link link_;
  std::map<std::pair<int32_t, Row>, int32_t> tails_;  ///< nodes from which just this row leads to that node
};

}  // namespace lamina::text

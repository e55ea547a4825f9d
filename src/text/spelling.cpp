#include "text/spelling.h"

#include <algorithm>
#include <array>
#include <string>

#include "text/utf8.h"

namespace lamina::text {
namespace {

constexpr char32_t kFirstSurrogate = 0xD800;
constexpr char32_t kLastSurrogate = 0xDFFF;
/// Characters that begin another length in UTF-8.
constexpr std::array<char32_t, 4> kLengthEnds{0x7F, 0x7FF, 0xFFFF, kLastCharacter};

struct Escape {
  char32_t character;
  char letter;
};
constexpr std::array kEscapes{Escape{'"', '"'},  Escape{'\\', '\\'}, Escape{'\b', 'b'}, Escape{'\f', 'f'},
                              Escape{'\n', 'n'}, Escape{'\r', 'r'},  Escape{'\t', 't'}};

}  // namespace

void SpellingWriter::add_row(int32_t from, const Row& row, int32_t to) {
  link_(from, row[0].low, row[0].high, tail(row, 1, to));
}

int32_t SpellingWriter::tail(const Row& row, size_t begin, int32_t to) {
  if (begin == row.size()) return to;
  const Row rest(row.begin() + static_cast<ptrdiff_t>(begin), row.end());
  const auto [entry, added] = tails_.emplace(std::pair(to, rest), 0);
  if (!added) return entry->second;
  const int32_t node = make_();
  entry->second = node;
  link_(node, rest[0].low, rest[0].high, tail(rest, 1, to));
  return node;
}

/// Rows of bytes for characters of one length in UTF-8: the range is cut where the bytes behind the first are not all
/// of theirs.
void SpellingWriter::split(char32_t first, char32_t last, std::vector<Row>& rows) const {
  std::string low;
  std::string high;
  append_utf8(low, first);
  append_utf8(high, last);
  for (size_t i = 1; i < low.size(); ++i) {
    const char32_t rest = (char32_t{1} << (6 * (low.size() - i))) - 1;
    if ((first & ~rest) == (last & ~rest)) continue;
    if ((first & rest) != 0) {
      split(first, first | rest, rows);
      split((first | rest) + 1, last, rows);
      return;
    }
    if ((last & rest) != rest) {
      split(first, (last & ~rest) - 1, rows);
      split(last & ~rest, last, rows);
      return;
    }
  }
  Row row;
  for (size_t i = 0; i < low.size(); ++i) row.push_back({static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i])});
  rows.push_back(std::move(row));
}

void SpellingWriter::add_plain(int32_t from, char32_t first, char32_t last, int32_t to) {
  // No text has halves of surrogate pairs.
  if (first < kFirstSurrogate && last >= kFirstSurrogate) {
    add_plain(from, first, kFirstSurrogate - 1, to);
    first = kFirstSurrogate;
  }
  if (first >= kFirstSurrogate && first <= kLastSurrogate) first = kLastSurrogate + 1;
  std::vector<Row> rows;
  for (const char32_t end : kLengthEnds) {
    if (first > last) break;
    if (first > end) continue;
    split(first, std::min(last, end), rows);
    first = end + 1;
  }
  for (const Row& row : rows) add_row(from, row, to);
}

void SpellingWriter::add_text(int32_t from, std::string_view text, int32_t to) {
  Row row;
  for (const char c : text) row.push_back({static_cast<uint8_t>(c), static_cast<uint8_t>(c)});
  add_row(from, row, to);
}

/// Each character in one way only, so that texts can be told apart by how they are written.
void SpellingWriter::add_json(int32_t from, char32_t first, char32_t last, int32_t to) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (char32_t c = first; c <= std::min<char32_t>(last, 0x1F); ++c) {
    if (std::ranges::find(kEscapes, c, &Escape::character) != kEscapes.end()) continue;
    add_text(from, {"\\u00" + std::string{kHex[c >> 4], kHex[c & 15]}}, to);
  }
  for (const Escape& escape : kEscapes) {
    if (escape.character >= first && escape.character <= last) add_text(from, {"\\" + std::string{escape.letter}}, to);
  }
  constexpr std::array<CharacterRange, 3> kRaw{{{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastCharacter}}};
  for (const CharacterRange& raw : kRaw) {
    const char32_t low = std::max(first, raw.first);
    const char32_t high = std::min(last, raw.last);
    if (low <= high) add_plain(from, low, high, to);
  }
}

void SpellingWriter::add_any_json(int32_t from, int32_t to) {
  add_plain(from, 0x20, '"' - 1, to);
  add_plain(from, '"' + 1, '\\' - 1, to);
  add_plain(from, '\\' + 1, kLastCharacter, to);
  constexpr Bytes kBackslash{'\\', '\\'};
  constexpr Bytes kU{'u', 'u'};
  for (const char c : std::string_view("\"\\/bfnrt"))
    add_row(from, {kBackslash, {static_cast<uint8_t>(c), static_cast<uint8_t>(c)}}, to);
  constexpr std::array<Bytes, 3> kHex{{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}};
  constexpr std::array<Bytes, 5> kNotD{{{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}};
  constexpr std::array<Bytes, 2> kD{{{'D', 'D'}, {'d', 'd'}}};
  constexpr std::array<Bytes, 1> kBelow{{{'0', '7'}}};
  constexpr std::array<Bytes, 3> kHigh{{{'8', '9'}, {'A', 'B'}, {'a', 'b'}}};
  constexpr std::array<Bytes, 2> kLow{{{'C', 'F'}, {'c', 'f'}}};
  const auto digits = [&](int32_t begin, std::span<const Bytes> set, int32_t end) {
    for (const Bytes& bytes : set) link_(begin, bytes.low, bytes.high, end);
  };
  // Four digits; or eight of a pair where the first four are the first half of one.
  const int32_t letter = make_();
  const int32_t one = make_();
  const int32_t after_d = make_();
  const int32_t two = make_();
  const int32_t three = make_();
  add_row(from, {kBackslash, kU}, letter);
  digits(letter, kNotD, one);
  digits(letter, kD, after_d);
  digits(one, kHex, two);
  digits(after_d, kBelow, two);
  digits(two, kHex, three);
  digits(three, kHex, to);
  std::array<int32_t, 7> pair{};
  for (int32_t& node : pair) node = make_();
  digits(after_d, kHigh, pair[0]);
  digits(pair[0], kHex, pair[1]);
  digits(pair[1], kHex, pair[2]);
  add_row(pair[2], {kBackslash, kU}, pair[3]);
  digits(pair[3], kD, pair[4]);
  digits(pair[4], kLow, pair[5]);
  digits(pair[5], kHex, pair[6]);
  digits(pair[6], kHex, to);
}

void SpellingWriter::add_state(const Automaton::State& state, Spelling spelling, const std::vector<int32_t>& nodes,
                               size_t index) {
  for (const auto& edge : state.edges) {
    const int32_t target = nodes[static_cast<size_t>(edge.target)];
    if (spelling == Spelling::kPlain) {
      add_plain(nodes[index], edge.first, edge.last, target);
    } else if (edge.first == 0 && edge.last == kLastCharacter) {
      add_any_json(nodes[index], target);
    } else {
      add_json(nodes[index], edge.first, edge.last, target);
    }
  }
}

}  // namespace lamina::text

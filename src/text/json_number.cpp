#include "text/json_number.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "text/regex.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

constexpr int kWholeDigits = 18;
constexpr int kExactDigits = 15;  // that a double keeps
constexpr int64_t kMostDivisor = 512;

/// A number in digits: without leading zeros before the point and without trailing ones behind it.
struct Decimal {
  bool negative = false;
  std::string whole = "0";
  std::string fraction{};

  bool zero() const { return whole == "0" && fraction.empty(); }
};

Result<Decimal> parse_decimal(std::string_view text) {
  Decimal out;
  const std::string_view all = text;
  if (text.starts_with('-')) {
    out.negative = true;
    text.remove_prefix(1);
  }
  int exponent = 0;
  const size_t e = text.find_first_of("eE");
  if (e != std::string_view::npos) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    text = text.substr(0, e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits(text.substr(0, point));
  auto before = static_cast<int64_t>(digits.size());
  if (point < text.size()) digits += text.substr(point + 1);
  before += exponent;
  constexpr int64_t kMost = 40;
  if (before > kMost || before < -kMost)
    return fail(ErrorCode::kUnsupported, "", "the bound {} has more than {} digits", all, kWholeDigits);
  if (before < 0) digits.insert(0, static_cast<size_t>(-before), '0');
  before = std::max<int64_t>(before, 0);
  if (std::ssize(digits) < before) digits.resize(static_cast<size_t>(before), '0');
  out.whole = digits.substr(0, static_cast<size_t>(before));
  out.fraction = digits.substr(static_cast<size_t>(before));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size()));
  if (out.whole.empty()) out.whole = "0";
  out.fraction.resize(out.fraction.find_last_not_of('0') + 1);
  const auto size = std::ssize(out.whole) + std::ssize(out.fraction);
  if (std::ssize(out.whole) > kWholeDigits || (!out.fraction.empty() && size > kExactDigits))
    return fail(ErrorCode::kUnsupported, "", "the bound {} has more than {} digits", all, kWholeDigits);
  if (out.zero()) out.negative = false;
  return out;
}

std::string digits_between(char low, char high) {
  return low > high ? "[]" : fmt::format("[{}-{}]", low, high);
}

void add(std::string& pattern, std::string_view alternative) {
  if (!pattern.empty()) pattern += '|';
  pattern += alternative;
}

constexpr std::string_view kAnyFraction = "(\\.[0-9]+)?";

/// Digits without sign that are not below `bound`.
std::string at_least(const Decimal& bound, bool exclusive) {
  const std::string& whole = bound.whole;
  const size_t n = whole.size();
  std::string out;
  add(out, fmt::format("[1-9][0-9]{{{},}}{}", n, kAnyFraction));
  for (size_t i = 0; i < n; ++i) {
    const auto higher = digits_between(static_cast<char>(whole[i] + 1), '9');
    add(out, fmt::format("{}{}[0-9]{{{}}}{}", whole.substr(0, i), higher, n - i - 1, kAnyFraction));
  }
  const std::string& fraction = bound.fraction;
  for (size_t i = 0; i < fraction.size(); ++i) {
    const auto higher = digits_between(static_cast<char>(fraction[i] + 1), '9');
    add(out, fmt::format("{}\\.{}{}[0-9]*", whole, fraction.substr(0, i), higher));
  }
  if (exclusive) {
    add(out, fmt::format("{}\\.{}[0-9]*[1-9][0-9]*", whole, fraction));
  } else if (fraction.empty()) {
    add(out, fmt::format("{}{}", whole, kAnyFraction));
  } else {
    add(out, fmt::format("{}\\.{}[0-9]*", whole, fraction));
  }
  return out;
}

/// Digits without sign that are not above `bound`.
std::string at_most(const Decimal& bound, bool exclusive) {
  const std::string& whole = bound.whole;
  const size_t n = whole.size();
  std::string out;
  if (n > 1) add(out, fmt::format("(0|[1-9][0-9]{{0,{}}}){}", n - 2, kAnyFraction));
  for (size_t i = 0; i < n; ++i) {
    const auto lower = digits_between(i == 0 && n > 1 ? '1' : '0', static_cast<char>(whole[i] - 1));
    add(out, fmt::format("{}{}[0-9]{{{}}}{}", whole.substr(0, i), lower, n - i - 1, kAnyFraction));
  }
  const std::string& fraction = bound.fraction;
  if (!fraction.empty()) add(out, whole);
  for (size_t i = 0; i < fraction.size(); ++i) {
    if (i > 0) add(out, fmt::format("{}\\.{}", whole, fraction.substr(0, i)));
    const auto lower = digits_between('0', static_cast<char>(fraction[i] - 1));
    add(out, fmt::format("{}\\.{}{}[0-9]*", whole, fraction.substr(0, i), lower));
  }
  if (!exclusive) {
    add(out, fraction.empty() ? fmt::format("{}(\\.0+)?", whole) : fmt::format("{}\\.{}0*", whole, fraction));
  }
  return out;
}

/// Numbers with the sign whose distance from 0 is within the bounds; none of them: no bound.
struct Side {
  bool there = true;
  std::optional<std::pair<Decimal, bool>> near{};  ///< and whether it is left out itself
  std::optional<std::pair<Decimal, bool>> far{};
};

Result<Automaton> side_automaton(const Side& side, std::string_view sign) {
  if (!side.there) return Automaton{};
  Automaton out = any_text();
  if (side.near) {
    LAMINA_ASSIGN(
        const Automaton one,
        compile_regex(fmt::format("{}({})", sign, at_least(side.near->first, side.near->second)), RegexUse::kWhole));
    LAMINA_ASSIGN(out, intersect(out, one));
  }
  if (side.far) {
    LAMINA_ASSIGN(
        const Automaton one,
        compile_regex(fmt::format("{}({})", sign, at_most(side.far->first, side.far->second)), RegexUse::kWhole));
    LAMINA_ASSIGN(out, intersect(out, one));
  }
  LAMINA_ASSIGN(const Automaton shape, compile_regex(fmt::format("{}[0-9].*", sign), RegexUse::kWhole));
  return intersect(out, shape);
}

/// What bounds leave of the numbers above 0 (`negative` false) or below it. 0 itself counts with those above.
Side side_of(const std::optional<std::pair<Decimal, bool>>& least, const std::optional<std::pair<Decimal, bool>>& most,
             bool negative) {
  const auto& towards = negative ? least : most;  // the bound away from 0
  const auto& back = negative ? most : least;
  Side side;
  const bool same_sign = !towards || towards->first.negative == negative;
  side.there = same_sign;
  if (towards && same_sign) side.far = towards;
  if (back && (back->first.negative == negative || back->first.zero())) side.near = back;
  return side;
}

/// An error's place is the keyword.
Result<std::optional<std::pair<Decimal, bool>>> read_bound(const std::optional<NumberBound>& bound, bool lower) {
  if (!bound) return std::nullopt;
  auto value = parse_decimal(bound->value);
  if (value) return std::pair(std::move(*value), bound->exclusive);
  core::Error error = std::move(value.error());
  error.place =
      lower ? (bound->exclusive ? "exclusiveMinimum" : "minimum") : (bound->exclusive ? "exclusiveMaximum" : "maximum");
  return std::unexpected(std::move(error));
}

Result<Automaton> unite(const Automaton& a, const Automaton& b) {
  // a + b = all - ((all - a) - b)
  LAMINA_ASSIGN(const Automaton rest, subtract(any_text(), a));
  LAMINA_ASSIGN(const Automaton neither, subtract(rest, b));
  return subtract(any_text(), neither);
}

Result<Automaton> multiples(int64_t divisor) {
  if (divisor < 1 || divisor > kMostDivisor)
    return fail(ErrorCode::kUnsupported, "", "found {}; a whole number from 1 to {} expected", divisor, kMostDivisor);
  Automaton out;
  out.states.resize(static_cast<size_t>(divisor) + 1);
  for (int64_t state = 0; state <= divisor; ++state) {
    const int64_t rest = std::max<int64_t>(state - 1, 0);
    auto& own = out.states[static_cast<size_t>(state)];
    own.accepts = state == 1;
    if (state == 0) own.edges.push_back({'-', '-', 1});
    for (int digit = 0; digit < 10; ++digit) {
      const auto c = static_cast<char32_t>('0' + digit);
      own.edges.push_back({c, c, static_cast<int32_t>((rest * 10 + digit) % divisor + 1)});
    }
  }
  return out;
}

}  // namespace

Result<Automaton> number_automaton(const NumberLimits& limits) {
  const bool bounded = limits.least || limits.most;
  std::string shape = "-?(0|[1-9][0-9]{0,17})";
  LAMINA_ASSIGN(const auto least, read_bound(limits.least, true));
  LAMINA_ASSIGN(const auto most, read_bound(limits.most, false));
  if (!limits.integer && !bounded) shape += "(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
  if (!limits.integer && bounded) {
    // So few digits behind the point that all of them together are exact.
    size_t whole = 1;
    size_t fraction = 0;
    for (const auto* bound : {&least, &most}) {
      if (!*bound) continue;
      whole = std::max(whole, (*bound)->first.whole.size());
      fraction = std::max(fraction, (*bound)->first.fraction.size());
    }
    const size_t digits = whole < kExactDigits ? kExactDigits - whole : 0;
    if (std::max(digits, fraction) > 0) shape += fmt::format("(\\.[0-9]{{1,{}}})?", std::max(digits, fraction));
  }
  LAMINA_ASSIGN(Automaton out, compile_regex(shape, RegexUse::kWhole));
  if (bounded) {
    LAMINA_ASSIGN(const Automaton above, side_automaton(side_of(least, most, false), ""));
    LAMINA_ASSIGN(const Automaton below, side_automaton(side_of(least, most, true), "-"));
    LAMINA_ASSIGN(const Automaton both, unite(above, below));
    LAMINA_ASSIGN(out, intersect(out, both));
  }
  if (limits.multiple_of > 1) {
    LAMINA_ASSIGN(const Automaton allowed, multiples(limits.multiple_of));
    LAMINA_ASSIGN(out, intersect(out, allowed));
  }
  return out;
}

}  // namespace lamina::text

#include <algorithm>
#include <array>

#include "text/jinja_format.h"
#include "text/jinja_function.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

using Call = Invocation;

Value result(Call& call, std::string text) {
  return call.ev.text(std::move(text), call.self.is_safe());
}

// An argument as it goes into the result: escaped if the result is HTML-safe and the argument is not.
std::string piece(Call& call, size_t i) {
  const std::string_view text = call.text(i);
  if (!call.self.is_safe() || call.at(i).is_safe()) return std::string(text);
  return escape_html(text, call.ev.text_limit());
}

template <bool left, bool right>
Value do_strip(Call& call) {
  if (!call.given(0)) return result(call, std::string(strip(call.self.view(), nullptr, left, right)));
  const std::string_view chars = call.text(0);
  call.ev.meter().step(static_cast<int64_t>(chars.size() * call.self.view().size() / 64));
  return result(call, std::string(strip(call.self.view(), &chars, left, right)));
}

Value pieces(Call& call, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const auto part : parts) items.push_back(result(call, std::string(part)));
  return call.ev.list(std::move(items));
}

// Splits at runs of white space, at most `limit` times from the left.
std::vector<std::string_view> split_space(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = strip(text, nullptr, true, false);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    for (size_t at = 0; at < text.size(); end = at) {
      if (is_space(next_point(text, at))) break;
    }
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), nullptr, true, false);
  }
  return parts;
}

std::vector<std::string_view> rsplit_space(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = strip(text, nullptr, false, true);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
      parts.push_back(text);
      break;
    }
    size_t begin = text.size();
    for (size_t at = text.size(); at > 0; begin = at) {
      if (is_space(previous_point(text, at))) break;
    }
    parts.push_back(text.substr(begin));
    text = strip(text.substr(0, begin), nullptr, false, true);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string_view separator(Call& call) {
  const std::string_view mark = call.text(0);
  if (mark.empty()) raise("empty separator");
  return mark;
}

Value do_split(Call& call) {
  const int64_t limit = call.integer(1, -1);
  std::string_view text = call.self.view();
  if (!call.given(0)) return pieces(call, split_space(text, limit));
  const std::string_view mark = separator(call);
  std::vector<std::string_view> parts;
  size_t at = text.find(mark);
  while (at != std::string_view::npos && (limit < 0 || static_cast<int64_t>(parts.size()) < limit)) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + mark.size());
    at = text.find(mark);
  }
  parts.push_back(text);
  return pieces(call, parts);
}

Value do_rsplit(Call& call) {
  const int64_t limit = call.integer(1, -1);
  std::string_view text = call.self.view();
  if (!call.given(0)) return pieces(call, rsplit_space(text, limit));
  const std::string_view mark = separator(call);
  std::vector<std::string_view> parts;
  size_t at = text.rfind(mark);
  while (at != std::string_view::npos && (limit < 0 || static_cast<int64_t>(parts.size()) < limit)) {
    parts.push_back(text.substr(at + mark.size()));
    text = text.substr(0, at);
    at = text.rfind(mark);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return pieces(call, parts);
}

Value do_splitlines(Call& call) {
  return pieces(call, split_lines(call.self.view(), call.strict_flag(0)));
}

Value do_partition(Call& call, bool last) {
  const std::string_view text = call.self.view(), mark = separator(call);
  const size_t at = last ? text.rfind(mark) : text.find(mark);
  std::array<std::string_view, 3> parts = {text.substr(0, at), mark, ""};
  if (at != std::string_view::npos) {
    parts[2] = text.substr(at + mark.size());
  } else if (last) {
    parts = {"", "", text};
  } else {
    parts = {text, "", ""};
  }
  std::vector<Value> items;
  for (const auto part : parts) items.push_back(result(call, std::string(part)));
  return call.ev.list(std::move(items), Flavour::kTuple);
}
Value do_partition_first(Call& call) {
  return do_partition(call, false);
}
Value do_partition_last(Call& call) {
  return do_partition(call, true);
}

Value do_replace(Call& call) {
  return result(call, replace_text(call.ev, call.self.view(), piece(call, 0), piece(call, 1), call.integer(2, -1)));
}

Value do_join(Call& call) {
  BoundedText out(call.ev.text_limit());
  bool first = true;
  for (const Value& item : iterate(call.ev, call.at(0))) {
    if (!first) out.append(call.self.view());
    const bool safe = call.self.is_safe();  // a safe separator takes anything, and escapes it
    if (!safe && !item.is_text()) raise("sequence item: expected str instance, {} found", item.type_name());
    const std::string text = call.ev.print(item);
    out.append(safe && !item.is_safe() ? escape_html(text, call.ev.text_limit()) : text);
    first = false;
  }
  return result(call, out.take());
}

// The part of the string that optional start and stop arguments choose, in code points, and its byte offset.
struct Window {
  std::string_view text;
  size_t start = 0;
  bool valid = true;
};

Window window(Call& call, size_t first) {
  const auto size = static_cast<int64_t>(call.self.text().length);
  const auto clamp = [&](int64_t index) { return std::clamp<int64_t>(index < 0 ? index + size : index, 0, size); };
  const int64_t raw = call.given(first) ? call.integer(first) : 0;
  const int64_t start = clamp(raw);
  const int64_t stop = call.given(first + 1) ? clamp(call.integer(first + 1)) : size;
  const std::string_view text = call.self.view();
  const size_t begin = point_offset(text, static_cast<size_t>(start));
  const size_t end = point_offset(text, static_cast<size_t>(std::max(start, stop)));
  return {text.substr(begin, end - begin), static_cast<size_t>(start), raw <= size && start <= stop};
}

int64_t find_in(Call& call, bool last) {
  const Window part = window(call, 1);
  const std::string_view what = call.text(0);
  call.ev.meter().step(static_cast<int64_t>(part.text.size() / 32));
  const size_t at = last ? part.text.rfind(what) : part.text.find(what);
  if (!part.valid || at == std::string_view::npos) return -1;
  return static_cast<int64_t>(part.start + count_points(part.text.substr(0, at)));
}

Value do_find(Call& call) {
  return Value(find_in(call, false));
}
Value do_rfind(Call& call) {
  return Value(find_in(call, true));
}

Value do_index(Call& call) {
  const int64_t at = find_in(call, false);
  if (at < 0) raise("substring not found");
  return Value(at);
}

Value do_rindex(Call& call) {
  const int64_t at = find_in(call, true);
  if (at < 0) raise("substring not found");
  return Value(at);
}

Value do_count(Call& call) {
  const Window part = window(call, 1);
  const std::string_view what = call.text(0);
  if (!part.valid) return Value(int64_t{0});
  if (what.empty()) return Value(static_cast<int64_t>(count_points(part.text)) + 1);
  int64_t count = 0;
  for (size_t at = part.text.find(what); at != std::string_view::npos; at = part.text.find(what, at + what.size()))
    ++count;
  return Value(count);
}

template <bool start>
Value do_affix(Call& call) {
  const Window part = window(call, 1);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_text()) raise("a str or a tuple of str expected, not {}", affix.type_name());
    return start ? part.text.starts_with(affix.view()) : part.text.ends_with(affix.view());
  };
  if (!call.at(0).is(Flavour::kTuple)) return Value(matches(call.at(0)) && part.valid);
  for (const Value& affix : call.at(0).items()) {
    if (matches(affix) && part.valid) return Value(true);
  }
  return Value(false);
}

Value do_removeprefix(Call& call) {
  std::string_view text = call.self.view();
  if (text.starts_with(call.text(0))) text.remove_prefix(call.text(0).size());
  return result(call, std::string(text));
}

Value do_removesuffix(Call& call) {
  std::string_view text = call.self.view();
  if (text.ends_with(call.text(0))) text.remove_suffix(call.text(0).size());
  return result(call, std::string(text));
}

Value do_upper(Call& call) {
  return result(call, to_upper(call.self.view()));
}
Value do_lower(Call& call) {
  return result(call, to_lower(call.self.view()));
}
Value do_casefold(Call& call) {
  return result(call, to_folded(call.self.view()));
}
Value do_title(Call& call) {
  return result(call, to_title(call.self.view()));
}
Value do_capitalize(Call& call) {
  return result(call, to_capitalized(call.self.view()));
}
Value do_swapcase(Call& call) {
  return result(call, to_swapped(call.self.view()));
}

Value do_justify(Call& call, char side) {
  const int64_t missing =
      std::max<int64_t>(std::max<int64_t>(call.integer(0), 0) - static_cast<int64_t>(call.self.text().length), 0);
  const std::string_view fill = call.text(1, " ");
  if (count_points(fill) != 1) raise("the fill character must be exactly one character long");
  // str.center() puts the odd blank left where the width is odd.
  const int64_t center = missing / 2 + (missing & call.integer(0) & 1);
  const int64_t left = side == '>' ? missing : side == '^' ? center : 0;
  BoundedText out(call.ev.text_limit());
  out.repeat(fill, left);
  out.append(call.self.view());
  out.repeat(fill, missing - left);
  return result(call, out.take());
}
Value do_ljust(Call& call) {
  return do_justify(call, '<');
}
Value do_rjust(Call& call) {
  return do_justify(call, '>');
}
Value do_center(Call& call) {
  return do_justify(call, '^');
}

Value do_zfill(Call& call) {
  const std::string_view text = call.self.view();
  const bool sign = text.starts_with('-') || text.starts_with('+');
  BoundedText out(call.ev.text_limit());
  out.append(text.substr(0, sign ? 1 : 0));
  out.repeat("0", std::max<int64_t>(call.integer(0), 0) - static_cast<int64_t>(call.self.text().length));
  out.append(text.substr(sign ? 1 : 0));
  return result(call, out.take());
}

Value do_expandtabs(Call& call) {
  const int64_t size = call.integer(0, 8);
  BoundedText out(call.ev.text_limit());
  int64_t column = 0;
  for (const char c : call.self.view()) {
    if (c == '\t') {
      const int64_t blanks = size > 0 ? size - column % size : 0;
      out.repeat(" ", blanks);
      column += blanks;
      continue;
    }
    out.append(c);
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++column;
    if (c == '\n' || c == '\r') column = 0;
  }
  return result(call, out.take());
}

template <bool (*accepts)(int32_t)>
Value do_all(Call& call) {
  const std::string_view text = call.self.view();
  for (size_t at = 0; at < text.size();) {
    if (!accepts(next_point(text, at))) return Value(false);
  }
  return Value(!text.empty());
}

bool is_ascii(int32_t point) {
  return point < 0x80;
}
Value do_isascii(Call& call) {
  return call.self.view().empty() ? Value(true) : do_all<is_ascii>(call);
}

template <bool upper>
Value do_iscased(Call& call) {
  return Value(apply_test(call.ev, upper ? "upper" : "lower", call.self, {}));
}

// str.istitle(): capitals only behind what has no case, small letters only behind what has one.
Value do_istitle(Call& call) {
  const std::string_view text = call.self.view();
  bool any = false, inside = false;
  for (size_t at = 0; at < text.size();) {
    const int32_t point = next_point(text, at);
    const bool capital = is_upper(point) || is_title(point);
    if (capital ? inside : is_lower(point) && !inside) return Value(false);
    inside = capital || is_lower(point);
    any |= inside;
  }
  return Value(any);
}

Value do_isprintable(Call& call) {
  return call.self.view().empty() ? Value(true) : do_all<is_printable>(call);
}

Value do_isidentifier(Call& call) {
  const std::string_view text = call.self.view();
  for (size_t at = 0; at < text.size();) {
    const bool first = at == 0;
    const int32_t point = next_point(text, at);
    if (!(first ? begins_identifier(point) : continues_identifier(point))) return Value(false);
  }
  return Value(!text.empty());
}

Value do_format(Call& call) {
  return format_braces(call.ev, call.self, call.rest);
}

constexpr std::array kMethods = {
    Function{"strip", "chars?", do_strip<true, true>},
    Function{"lstrip", "chars?", do_strip<true, false>},
    Function{"rstrip", "chars?", do_strip<false, true>},
    Function{"split", "sep? maxsplit?", do_split},
    Function{"rsplit", "sep? maxsplit?", do_rsplit},
    Function{"splitlines", "keepends?", do_splitlines},
    Function{"partition", "sep", do_partition_first},
    Function{"rpartition", "sep", do_partition_last},
    Function{"replace", "old new count?", do_replace},
    Function{"join", "iterable", do_join},
    Function{"find", "sub start? end?", do_find},
    Function{"rfind", "sub start? end?", do_rfind},
    Function{"index", "sub start? end?", do_index},
    Function{"rindex", "sub start? end?", do_rindex},
    Function{"count", "sub start? end?", do_count},
    Function{"startswith", "prefix start? end?", do_affix<true>},
    Function{"endswith", "suffix start? end?", do_affix<false>},
    Function{"removeprefix", "prefix", do_removeprefix},
    Function{"removesuffix", "suffix", do_removesuffix},
    Function{"upper", "", do_upper},
    Function{"lower", "", do_lower},
    Function{"casefold", "", do_casefold},
    Function{"title", "", do_title},
    Function{"capitalize", "", do_capitalize},
    Function{"swapcase", "", do_swapcase},
    Function{"ljust", "width fillchar?", do_ljust},
    Function{"rjust", "width fillchar?", do_rjust},
    Function{"center", "width fillchar?", do_center},
    Function{"zfill", "width", do_zfill},
    Function{"expandtabs", "tabsize?", do_expandtabs},
    Function{"isspace", "", do_all<is_space>},
    Function{"isalpha", "", do_all<is_alpha>},
    Function{"isdigit", "", do_all<is_digit>},
    Function{"isdecimal", "", do_all<is_decimal>},
    Function{"isnumeric", "", do_all<is_numeric>},
    Function{"isalnum", "", do_all<is_alnum>},
    Function{"isascii", "", do_isascii},
    Function{"istitle", "", do_istitle},
    Function{"isprintable", "", do_isprintable},
    Function{"isidentifier", "", do_isidentifier},
    Function{"isupper", "", do_iscased<true>},
    Function{"islower", "", do_iscased<false>},
    Function{"format", "*", do_format},
};

}  // namespace

std::string replace_text(Evaluator& ev, std::string_view text, std::string_view old, std::string_view fresh,
                         int64_t count) {
  BoundedText out(ev.text_limit());
  ev.meter().step(static_cast<int64_t>(text.size() / 32));
  if (old.empty()) {
    for (size_t at = 0; at <= text.size() && count != 0; --count) {
      out.append(fresh);
      if (at == text.size()) return out.take();
      const size_t start = at;
      next_point(text, at);
      out.append(text.substr(start, at - start));
      if (count == 1) out.append(text.substr(at));
    }
    return count == 0 && out.size() == 0 ? std::string(text) : out.take();
  }
  while (count != 0) {
    const size_t at = text.find(old);
    if (at == std::string_view::npos) break;
    out.append(text.substr(0, at));
    out.append(fresh);
    text.remove_prefix(at + old.size());
    if (count > 0) --count;
  }
  out.append(text);
  return out.take();
}

const Function* find_text_method(std::string_view name) {
  const auto* row = std::find_if(kMethods.begin(), kMethods.end(), [&](const Function& f) { return f.name == name; });
  return row == kMethods.end() ? nullptr : row;
}

}  // namespace lamina::text::jinja

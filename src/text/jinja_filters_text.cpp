#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja_filters.h"
#include "text/jinja_format.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

using Call = Invocation;

// Passes the filter's input, printed, to the string method of that name.
Value method(Call& call, std::string_view name, Arguments arguments = {}) {
  const Value self = call.self.is_text() ? call.self : call.ev.text(call.self_text());
  return invoke(call.ev, *find_text_method(name), self, std::move(arguments));
}

Arguments given_arguments(const Call& call) {
  Arguments arguments;
  for (const auto& slot : call.slots) {
    if (slot) arguments.positional.push_back(*slot);
  }
  return arguments;
}

Value do_upper(Call& call) {
  return method(call, "upper");
}
Value do_lower(Call& call) {
  return method(call, "lower");
}
Value do_capitalize(Call& call) {
  return method(call, "capitalize");
}
Value do_trim(Call& call) {
  return method(call, "strip", given_arguments(call));
}

Value do_center(Call& call) {
  Arguments arguments;
  arguments.positional.emplace_back(call.integer(0, 80));
  return method(call, "center", std::move(arguments));
}

// Unlike str.title(): only white space and opening brackets start a word.
Value do_title(Call& call) {
  const std::string text = call.self_text();
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const auto is_gap = [](int32_t point) {
      return is_space(point) ||
             std::u32string_view(U"-({[<").find(static_cast<char32_t>(point)) != std::u32string_view::npos;
    };
    const bool gap = is_gap(next_point(text, at));
    const size_t first = at;
    for (size_t end = at; at < text.size(); at = end) {
      if (is_gap(next_point(text, end)) != gap) break;
    }
    out += to_upper(std::string_view(text).substr(start, first - start));
    out += to_lower(std::string_view(text).substr(first, at - first));
  }
  return call.ev.text(std::move(out), call.self.is_safe());
}

Value do_replace(Call& call) {
  const std::string old = call.ev.print(call.at(0)), fresh = call.ev.print(call.at(1));
  return call.ev.text(replace_text(call.ev, call.self_text(), old, fresh, call.given(2) ? call.integer(2) : -1));
}

Value do_string(Call& call) {
  return call.self.is_text() ? call.self : call.ev.text(call.self_text());
}
Value do_safe(Call& call) {
  return call.ev.text(call.self_text(), true);
}

Value do_escape(Call& call) {
  return call.self.is_safe() ? call.self : call.ev.text(escape_html(call.self_text(), call.ev.text_limit()), true);
}

Value do_forceescape(Call& call) {
  return call.ev.text(escape_html(call.self_text(), call.ev.text_limit()), true);
}

std::string indentation(const Call& call, size_t i, int64_t fallback) {
  if (call.has(i) && call.at(i).is_text()) return std::string(call.at(i).view());
  BoundedText out(call.ev.text_limit());
  out.repeat(" ", call.integer(i, fallback));
  return out.take();
}

Value do_indent(Call& call) {
  if (!call.self.is_text()) raise("indent expects a string, not {}", call.self.type_name());
  const std::string margin = indentation(call, 0, 4);
  const std::string text = std::string(call.self.view()) + "\n";
  BoundedText out(call.ev.text_limit());
  bool first = true;
  for (const auto line : split_lines(text, false)) {
    if (!first) out.append('\n');
    if (first ? call.flag(1) : call.flag(2) || !line.empty()) out.append(margin);
    out.append(line);
    first = false;
  }
  return call.ev.text(out.take(), call.self.is_safe());
}

Value do_truncate(Call& call) {
  const int64_t limit = call.integer(0, 255);
  const auto end_length = length(call.value(2, Value::text("...")));
  const auto size = length(call.self);
  const int64_t leeway = call.given(3) ? call.integer(3) : 5;
  if (!end_length || !size) raise("truncate expects a string, not {}", call.self.type_name());
  if (limit < *end_length) raise("expected length >= {}, got {}", *end_length, limit);
  if (leeway < 0) raise("expected leeway >= 0, got {}", leeway);
  if (*size <= limit || *size - limit <= leeway) return call.self;
  if (!call.self.is_text()) raise("truncate expects a string, not {}", call.self.type_name());
  const std::string_view end = call.text(2, "...");
  std::string_view text = call.self.view();
  text = text.substr(0, point_offset(text, static_cast<size_t>(limit - *end_length)));
  if (!call.flag(1)) text = text.substr(0, text.rfind(' '));
  return call.ev.text(std::string(text) + std::string(end), call.self.is_safe());
}

Value do_wordcount(Call& call) {
  const std::string text = call.self_text();
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const int32_t point = next_point(text, at);
    const bool word = is_alnum(point) || point == '_';
    count += word && !inside;
    inside = word;
  }
  return Value(count);
}

Value do_format(Call& call) {
  if (!call.rest.positional.empty() && !call.rest.named.empty()) {
    raise("can't handle positional and keyword arguments at the same time");
  }
  const Value format = call.self.is_text() ? call.self : call.ev.text(call.self_text());
  if (call.rest.named.empty()) {
    return format_percent(call.ev, format, call.ev.list(std::move(call.rest.positional), Flavour::kTuple));
  }
  auto dict = std::make_shared<Dict>();
  for (auto& [name, value] : call.rest.named) dict->set(call.ev.text(name), std::move(value));
  return format_percent(call.ev, format, call.ev.dict(std::move(dict)));
}

// json.dumps() as transformers exposes it.
Value do_tojson(Call& call) {
  JsonStyle style;
  style.ensure_ascii = call.flag(0);
  style.sort_keys = call.flag(3);
  if (call.given(1)) {
    style.indent = indentation(call, 1, 0);
    style.item_separator = ",";
  }
  if (call.given(2)) {
    const auto marks = iterate(call.ev, call.at(2));
    if (marks.size() != 2 || !marks[0].is_text() || !marks[1].is_text()) raise("separators must be two strings");
    style.item_separator = marks[0].view();
    style.key_separator = marks[1].view();
  }
  call.ev.charge(call.self);
  return call.ev.text(to_json(call.self, style, call.ev.text_limit()));
}

void quote_url(std::string_view text, bool query, BoundedText& out) {
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query);
    if (plain) {
      out.append(c);
    } else if (c == ' ' && query) {
      out.append('+');
    } else {
      out.append(fmt::format("%{:02X}", static_cast<unsigned char>(c)));
    }
  }
}

Value do_urlencode(Call& call) {
  BoundedText out(call.ev.text_limit());
  if (call.self.is_text() || !is_iterable(call.self)) {
    quote_url(call.self_text(), false, out);
    return call.ev.text(out.take());
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (call.self.is_dict()) {
    pairs = call.self.dict().entries;
  } else {
    for (const Value& item : iterate(call.ev, call.self)) {
      const auto two = iterate(call.ev, item);
      if (two.size() != 2) raise("urlencode expects pairs");
      pairs.emplace_back(two[0], two[1]);
    }
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (i != 0) out.append('&');
    quote_url(call.ev.print(pairs[i].first), true, out);
    out.append('=');
    quote_url(call.ev.print(pairs[i].second), true, out);
  }
  return call.ev.text(out.take());
}

// The number that a whole string spells, underscores between digits allowed, or nothing.
template <typename Number, typename... Base>
std::optional<Number> parse_whole(std::string_view text, Base... base) {
  text = strip(text, nullptr, true, true);
  std::string clean;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_alnum_at = [&](size_t k) {
      return k < text.size() && std::isalnum(static_cast<unsigned char>(text[k])) != 0;
    };
    if (text[i] != '_') {
      clean += text[i];
    } else if (i == 0 || !is_alnum_at(i - 1) || !is_alnum_at(i + 1)) {
      return std::nullopt;
    }
  }
  if (clean.starts_with("+") && !clean.starts_with("+-")) clean.erase(0, 1);
  Number value{};
  const auto [end, error] = std::from_chars(clean.data(), clean.data() + clean.size(), value, base...);
  if (error == std::errc::result_out_of_range) raise_limit("the number '{}' is out of range", clean.substr(0, 40));
  if (error != std::errc() || end != clean.data() + clean.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_real(const Value& value) {
  if (value.is_number()) return value.real();
  if (!value.is_text()) return std::nullopt;
  return parse_whole<double>(value.view());
}

std::optional<int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text, nullptr, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('-') || text.starts_with('+')) return std::nullopt;
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      base = marked;
      text.remove_prefix(2);
    }
  }
  const auto value = parse_whole<int64_t>(text, base == 0 ? 10 : base);
  if (!value) return std::nullopt;
  return negative ? -*value : *value;
}

Value do_int(Call& call) {
  if (call.self.is_undefined()) raise("{}", call.self.undefined_message());
  if (call.self.is_index()) return Value(call.self.integer());
  const int64_t base = call.self.is_text() && call.has(1) && !call.at(1).is_index() ? 1 : call.integer(1, 10);
  if (call.self.is_text() && (base == 0 || (base >= 2 && base <= 36))) {
    if (const auto value = parse_integer(call.self.view(), static_cast<int>(base))) return Value(*value);
  }
  const auto real = parse_real(call.self);
  if (!real || std::isnan(*real) || std::isinf(*real)) return call.value(0, Value(int64_t{0}));
  if (std::abs(*real) >= 9.2e18) raise_limit("an integer exceeds 64 bits");
  return Value(static_cast<int64_t>(*real));
}

Value do_float(Call& call) {
  if (call.self.is_undefined()) raise("{}", call.self.undefined_message());
  const auto real = parse_real(call.self);
  return real ? Value(*real) : call.value(0, Value(0.0));
}

double round_half_even(double value, int digits) {
  if (digits < 0) {
    const double scale = std::pow(10.0, -digits);
    return std::nearbyint(value / scale) * scale;
  }
  // Rounding the shortest decimal text is what Python's round() does.
  const std::string text = fmt::format("{:.{}f}", value, digits);
  return std::strtod(text.c_str(), nullptr);
}

Value do_round(Call& call) {
  const std::string_view method = call.text(1, "common");
  const bool whole = call.has(0) && call.at(0).is_none() && method == "common";  // Python's round(x, None)
  const int64_t digits = whole ? 0 : call.integer(0, 0);
  if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
  if (call.self.is_undefined()) raise("{}", call.self.undefined_message());
  if (!call.self.is_number()) raise("type {} doesn't define __round__ method", call.self.type_name());
  if (digits > 300 || digits < -300) raise_limit("rounding to {} digits", digits);
  if (method == "common") {
    if (call.self.is_index() && digits >= 0) return Value(call.self.integer());
    const double value = round_half_even(call.self.real(), static_cast<int>(digits));
    if (whole && !std::isfinite(value)) raise("cannot convert float to integer");
    if ((whole || call.self.is_index()) && std::abs(value) >= 9.2e18) raise_limit("an integer exceeds 64 bits");
    return whole || call.self.is_index() ? Value(static_cast<int64_t>(value)) : Value(value);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = call.self.real() * scale;
  // Python's ceil() and floor() are integers, which have no -0.
  return Value(((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0) / scale);
}

Value do_abs(Call& call) {
  if (!call.self.is_number()) raise("bad operand type for abs(): '{}'", call.self.type_name());
  if (call.self.is_real()) return Value(std::abs(call.self.real()));
  return call.self.integer() < 0 ? sign_of(call.self, true) : Value(call.self.integer());
}

Value do_filesizeformat(Call& call) {
  const auto bytes = parse_real(call.self);
  if (!bytes) raise("filesizeformat expects a number");
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  const bool binary = call.flag(0);
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return call.ev.text("1 Byte");
  // Adding 0 turns -0 into 0.
  if (*bytes < base) return call.ev.text(fmt::format("{:.0f} Bytes", std::trunc(*bytes) + 0.0));
  double unit = base;
  size_t i = 0;
  while (i + 1 < kPrefixes.size() && *bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  const char prefix = binary ? static_cast<char>(std::toupper(kPrefixes[i])) : kPrefixes[i];
  return call.ev.text(fmt::format("{:.1f} {}{}", base * *bytes / (unit * base), prefix, binary ? "iB" : "B"));
}

constexpr std::array kFilters = {
    Function{"upper", "", do_upper},
    Function{"lower", "", do_lower},
    Function{"capitalize", "", do_capitalize},
    Function{"title", "", do_title},
    Function{"trim", "chars?", do_trim},
    Function{"center", "width?", do_center},
    Function{"replace", "old new count?", do_replace},
    Function{"string", "", do_string},
    Function{"safe", "", do_safe},
    Function{"e", "", do_escape},
    Function{"escape", "", do_escape},
    Function{"forceescape", "", do_forceescape},
    Function{"indent", "width? first? blank?", do_indent},
    Function{"truncate", "length? killwords? end? leeway?", do_truncate},
    Function{"wordcount", "", do_wordcount},
    Function{"format", "*", do_format},
    Function{"tojson", "ensure_ascii? indent? separators? sort_keys?", do_tojson},
    Function{"urlencode", "", do_urlencode},
    Function{"int", "default? base?", do_int},
    Function{"float", "default?", do_float},
    Function{"round", "precision? method?", do_round},
    Function{"abs", "", do_abs},
    Function{"filesizeformat", "binary?", do_filesizeformat},
};

}  // namespace

std::span<const Function> text_filters() {
  return kFilters;
}

}  // namespace lamina::text::jinja

#include "text/jinja_format.h"

#include <charconv>
#include <cmath>

#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

constexpr int kMaxPrecision = 100;

/// One conversion: what both formatting languages boil down to.
struct Spec {
  std::string fill = " ";
  char align = 0;  ///< < > ^ =, or 0: the type's default
  char sign = '-';
  bool alternate = false;
  bool thousands = false;
  int64_t width = 0;
  int precision = -1;
  char type = 0;
};

int64_t parse_number(std::string_view text, size_t& at) {
  int64_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > 1'000'000'000) raise_limit("a format width of more than 10^9");
  }
  return value;
}

std::string pad(Evaluator& ev, const Spec& spec, std::string_view sign, std::string_view body, char align) {
  const auto have = static_cast<int64_t>(count_points(sign) + count_points(body));
  const int64_t missing = std::max<int64_t>(spec.width - have, 0);
  const int64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  BoundedText out(ev.text_limit());
  out.repeat(spec.fill, left);
  out.append(sign);
  if (align == '=') out.repeat(spec.fill, missing);
  out.append(body);
  if (align != '=') out.repeat(spec.fill, missing - left);
  return out.take();
}

std::string group_thousands(const std::string& digits) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i != 0 && (whole - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string integer_digits(const Spec& spec, uint64_t magnitude) {
  switch (spec.type) {
    case 'x':
      return fmt::format("{}{:x}", spec.alternate ? "0x" : "", magnitude);
    case 'X':
      return fmt::format("{}{:X}", spec.alternate ? "0X" : "", magnitude);
    case 'o':
      return fmt::format("{}{:o}", spec.alternate ? "0o" : "", magnitude);
    case 'b':
      return fmt::format("{}{:b}", spec.alternate ? "0b" : "", magnitude);
    default:
      return std::to_string(magnitude);
  }
}

std::string real_digits(const Spec& spec, double magnitude) {
  if (std::isnan(magnitude) || std::isinf(magnitude)) {
    const bool big = spec.type == 'F' || spec.type == 'E' || spec.type == 'G';
    return std::isnan(magnitude) ? (big ? "NAN" : "nan") : (big ? "INF" : "inf");
  }
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'e':
      return fmt::format("{:.{}e}", magnitude, precision);
    case 'E':
      return fmt::format("{:.{}E}", magnitude, precision);
    case 'g':
      return fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
    case 'G':
      return fmt::format("{:.{}G}", magnitude, std::max(precision, 1));
    case '%':
      return fmt::format("{:.{}f}%", magnitude * 100, precision);
    case 0:
      if (spec.precision < 0) return print_real(magnitude);
      return fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
    default:
      return fmt::format("{:.{}f}", magnitude, precision);
  }
}

std::string format_number(Evaluator& ev, const Spec& spec, const Value& value) {
  const bool real = value.is_real() || std::string_view("eEfFgG%").find(spec.type) < 7;
  const bool negative = real ? std::signbit(value.real()) && !std::isnan(value.real()) : value.integer() < 0;
  std::string digits;
  if (real) {
    digits = real_digits(spec, std::abs(value.real()));
  } else {
    const auto bits = static_cast<uint64_t>(value.integer());
    digits = integer_digits(spec, negative ? 0 - bits : bits);
  }
  if (spec.thousands) digits = group_thousands(digits);
  const std::string sign = negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  return pad(ev, spec, sign, digits, spec.align != 0 ? spec.align : '>');
}

std::string format_text(Evaluator& ev, const Spec& spec, std::string_view text, char align) {
  if (spec.precision >= 0) text = text.substr(0, point_offset(text, static_cast<size_t>(spec.precision)));
  return pad(ev, spec, "", text, align);
}

void check_precision(int64_t precision) {
  if (precision > kMaxPrecision) raise_limit("a format precision of more than {}", kMaxPrecision);
}

/// Interprets printf-style formats.
class Percent {
 public:
  Percent(Evaluator& ev, const Value& format, const Value& values)
      : ev_(ev), text_(format.view()), values_(values), out_(ev.text_limit()), safe_(format.is_safe()) {}

  std::string run() {
    while (at_ < text_.size()) {
      const size_t sign = std::min(text_.find('%', at_), text_.size());
      out_.append(text_.substr(at_, sign - at_));
      at_ = sign;
      if (at_ < text_.size()) convert();
    }
    const bool tuple = values_.is(Flavour::kTuple);
    if (tuple ? used_ < values_.items().size() : used_ == 0 && !values_.is_dict() && !values_.is(Flavour::kList)) {
      raise("not all arguments converted during string formatting");
    }
    return out_.take();
  }

 private:
  char peek() const {
    if (at_ >= text_.size()) raise("incomplete format");
    return text_[at_];
  }

  Value take() {
    if (!values_.is(Flavour::kTuple)) {
      if (used_++ != 0) raise("not enough arguments for format string");
      return values_;
    }
    if (used_ >= values_.items().size()) raise("not enough arguments for format string");
    return values_.items()[used_++];
  }

  int64_t number() {
    if (peek() != '*') return parse_number(text_, at_);
    ++at_;
    const Value value = take();
    if (!value.is_index()) raise("* wants int");
    if (value.integer() < -1'000'000'000 || value.integer() > 1'000'000'000)
      raise_limit("a format width of more than 10^9");
    return value.integer();
  }

  void convert() {
    ++at_;
    Spec spec;
    bool mapped = false;
    Value value;
    if (peek() == '(') {
      const size_t end = text_.find(')', at_);
      if (end == std::string_view::npos) raise("incomplete format key");
      if (!values_.is_dict()) raise("format requires a mapping");
      const std::string_view key = text_.substr(at_ + 1, end - at_ - 1);
      const Value* found = values_.dict().find(key);
      if (found == nullptr) raise("KeyError: {}", quote(key));
      value = *found;
      mapped = true;
      at_ = end + 1;
    }
    bool left = false, zero = false;
    for (; std::string_view("-+ #0").find(peek()) != std::string_view::npos; ++at_) {
      left |= peek() == '-';
      zero |= peek() == '0';
      spec.alternate |= peek() == '#';
      if (peek() == '+') spec.sign = '+';
      if (peek() == ' ' && spec.sign != '+') spec.sign = ' ';
    }
    spec.width = number();
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      const int64_t precision = number();
      check_precision(precision);
      spec.precision = static_cast<int>(std::max<int64_t>(precision, 0));
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    spec.type = peek();
    ++at_;
    if (spec.type == '%') return out_.append('%');
    if (!mapped) value = take();
    used_ += mapped;
    spec.align = left ? '<' : '>';
    emit(spec, value, zero && !left);
  }

  void emit(Spec spec, const Value& value, bool zero) {
    const auto is = [&](std::string_view types) { return types.find(spec.type) != std::string_view::npos; };
    if (is("sra")) {
      std::string text = spec.type == 's' ? ev_.print(value) : repr(value, ev_.text_limit());
      if (safe_ && !value.is_safe()) text = escape_html(text, ev_.text_limit());
      return out_.append(format_text(ev_, spec, text, spec.align));
    }
    if (spec.type == 'c') return emit_character(spec, value);
    if (!is("diuxXoeEfFgG")) raise("unsupported format character '{}'", spec.type);
    if (!value.is_number()) raise("%{} format: a real number is required, not {}", spec.type, value.type_name());
    if (zero) {
      spec.fill = "0";
      spec.align = '=';
    }
    if (!is("diuxXo")) return out_.append(format_number(ev_, spec, value));
    if (is("xXo") && value.is_real()) raise("%{} format: an integer is required, not float", spec.type);
    if (value.is_real() && !(std::abs(value.real()) < 9e18))
      raise("cannot convert {} to integer", print_real(value.real()));
    const Value whole = value.is_real() ? Value(static_cast<int64_t>(value.real())) : value;
    out_.append(format_number(ev_, spec, whole));
  }

  void emit_character(const Spec& spec, const Value& value) {
    std::string text;
    if (value.is_text() && value.text().length == 1) {
      text = value.view();
    } else if (value.is_index() && value.integer() >= 0 && value.integer() <= 0x10FFFF &&
               (value.integer() < 0xD800 || value.integer() > 0xDFFF)) {
      append_point(text, static_cast<int32_t>(value.integer()));
    } else {
      raise("%c requires int or char");
    }
    out_.append(pad(ev_, spec, "", text, spec.align));
  }

  Evaluator& ev_;
  std::string_view text_;
  const Value& values_;
  BoundedText out_;
  bool safe_;  ///< the result is HTML-safe, so what goes in is escaped
  size_t at_ = 0;
  size_t used_ = 0;
};

/// Interprets str.format() strings.
class Braces {
 public:
  Braces(Evaluator& ev, const Arguments& arguments) : ev_(ev), arguments_(arguments) {}

  std::string run(std::string_view text, int depth) {
    if (depth > 2) raise("max string recursion exceeded");
    BoundedText out(ev_.text_limit());
    for (size_t at = 0; at < text.size();) {
      const char c = text[at];
      if ((c == '{' || c == '}') && at + 1 < text.size() && text[at + 1] == c) {
        out.append(c);
        at += 2;
      } else if (c == '}') {
        raise("single '}}' encountered in format string");
      } else if (c == '{') {
        const size_t end = field_end(text, at + 1);
        out.append(field(text.substr(at + 1, end - at - 1), depth));
        at = end + 1;
      } else {
        out.append(c);
        ++at;
      }
    }
    return out.take();
  }

 private:
  static size_t field_end(std::string_view text, size_t at) {
    for (int open = 1; at < text.size(); ++at) {
      if (text[at] == '{') ++open;
      if (text[at] == '}' && --open == 0) return at;
    }
    raise("expected '}}' before end of string");
  }

  std::string field(std::string_view body, int depth) {
    const size_t split = std::min(body.find_first_of("!:"), body.size());
    Value value = resolve(body.substr(0, split));
    std::string_view rest = body.substr(split);
    if (rest.starts_with("!")) {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) raise("expected ':' after conversion specifier");
      if (rest[1] == 'r' || rest[1] == 'a') {
        value = ev_.text(repr(value, ev_.text_limit()));
      } else if (rest[1] == 's') {
        value = ev_.text(ev_.print(value));
      } else {
        raise("unknown conversion specifier {}", quote(rest.substr(1, 1)));
      }
      rest.remove_prefix(2);
    }
    if (rest.starts_with(":")) rest.remove_prefix(1);
    return apply(value, run(rest, depth + 1));
  }

  Value resolve(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    size_t at = end;
    while (at < name.size()) {
      const bool attribute = name[at] == '.';
      const size_t stop = attribute ? std::min(name.find_first_of(".[", at + 1), name.size()) : name.find(']', at);
      if (stop == std::string_view::npos) raise("missing ']' in format string");
      const std::string key(name.substr(at + 1, stop - at - 1));
      if (key.empty()) raise("empty attribute in format string");
      if (attribute) {
        value = get_attribute(ev_, value, key);
      } else {
        const bool digits = key.find_first_not_of("0123456789") == std::string::npos;
        size_t position = 0;
        value = get_item(ev_, value, digits ? Value(parse_number(key, position)) : Value::text(key));
      }
      at = attribute ? stop : stop + 1;
    }
    return value;
  }

  Value first(std::string_view name) {
    if (name.empty()) return positional(automatic_++);
    if (name.find_first_not_of("0123456789") == std::string_view::npos) {
      size_t at = 0;
      return positional(static_cast<size_t>(parse_number(name, at)));
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    raise("KeyError: {}", quote(name));
  }

  const Value& positional(size_t index) const {
    if (index >= arguments_.positional.size()) {
      raise("replacement index {} out of range for positional args tuple", index);
    }
    return arguments_.positional[index];
  }

  static Spec parse_spec(std::string_view text) {
    Spec spec;
    size_t at = 0;
    const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    size_t after = 0;
    if (!text.empty()) next_point(text, after);
    if (after > 0 && after < text.size() && is_align(text[after])) {
      spec.fill = text.substr(0, after);
      spec.align = text[after];
      at = after + 1;
    } else if (is_align(peek())) {
      spec.align = text[at++];
    }
    if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = text[at++];
    if (peek() == '#') spec.alternate = text[at++] == '#';
    if (peek() == '0') {
      ++at;
      if (spec.align == 0) spec.align = '=', spec.fill = "0";
    }
    spec.width = parse_number(text, at);
    if (peek() == ',') spec.thousands = text[at++] == ',';
    if (peek() == '.') {
      ++at;
      const int64_t precision = parse_number(text, at);
      check_precision(precision);
      spec.precision = static_cast<int>(precision);
    }
    if (at < text.size()) spec.type = text[at++];
    if (at < text.size()) raise("invalid format specifier {}", quote(text));
    return spec;
  }

  std::string apply(const Value& value, const std::string& text) {
    if (text.empty()) return ev_.print(value);
    const Spec spec = parse_spec(text);
    if (value.is_text()) {
      if (spec.type != 0 && spec.type != 's') raise("unknown format code '{}' for object of type 'str'", spec.type);
      return format_text(ev_, spec, value.view(), spec.align != 0 ? spec.align : '<');
    }
    if (!value.is_number()) raise("unsupported format string passed to {}", value.type_name());
    const std::string_view types = value.is_real() ? "eEfFgG%" : "bdoxXneEfFgG%";
    if (spec.type != 0 && types.find(spec.type) == std::string_view::npos) {
      raise("unknown format code '{}' for object of type '{}'", spec.type, value.type_name());
    }
    return format_number(ev_, spec, value);
  }

  Evaluator& ev_;
  const Arguments& arguments_;
  size_t automatic_ = 0;
};

}  // namespace

Value format_percent(Evaluator& ev, const Value& format, const Value& values) {
  return ev.text(Percent(ev, format, values).run(), format.is_safe());
}

Value format_braces(Evaluator& ev, const Value& format, const Arguments& arguments) {
  return ev.text(Braces(ev, arguments).run(format.view(), 0), format.is_safe());
}

}  // namespace lamina::text::jinja

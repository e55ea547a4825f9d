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
  bool zero = false;   ///< numbers are filled with zeros behind their sign
  char thousands = 0;  ///< , or _ between groups of digits
  bool signs = false;  ///< a sign was asked for by name
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

std::string group_digits(const std::string& digits, char mark, size_t size) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i != 0 && (whole - i) % size == 0) out += mark;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

bool is_any_of(char c, std::string_view set) {
  return c != 0 && set.find(c) != std::string_view::npos;
}

std::string integer_digits(const Spec& spec, uint64_t magnitude) {
  std::string digits = spec.type == 'x'   ? fmt::format("{:x}", magnitude)
                       : spec.type == 'X' ? fmt::format("{:X}", magnitude)
                       : spec.type == 'o' ? fmt::format("{:o}", magnitude)
                       : spec.type == 'b' ? fmt::format("{:b}", magnitude)
                                          : std::to_string(magnitude);
  const size_t least = static_cast<size_t>(std::max(spec.precision, 0));
  return digits.size() < least ? std::string(least - digits.size(), '0') + digits : digits;
}

/// What str.format() makes of a float with a precision and without a type: as "g", but with a digit behind the point.
std::string general_digits(double magnitude, int precision) {
  const std::string scientific = fmt::format("{:.{}e}", magnitude, precision - 1);
  const size_t mark = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(mark + 1));
  if (exponent < -4 || exponent >= precision - 1) {
    std::string mantissa = scientific.substr(0, mark);
    if (mantissa.find('.') != std::string::npos) mantissa.resize(mantissa.find_last_not_of('0') + 1);
    if (mantissa.ends_with('.')) mantissa.pop_back();
    return mantissa + scientific.substr(mark);
  }
  const std::string digits = fmt::format("{:.{}g}", magnitude, precision);
  return digits.find('.') == std::string::npos ? digits + ".0" : digits;
}

std::string real_digits(const Spec& spec, double magnitude) {
  const bool capital = is_any_of(spec.type, "FEG");
  if (std::isnan(magnitude)) return capital ? "NAN" : "nan";
  if (std::isinf(magnitude)) return capital ? "INF" : "inf";
  if (spec.type == 0 && spec.precision < 0) return print_real(magnitude);
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  const bool general = is_any_of(spec.type, "gGn") || spec.type == 0;
  if (spec.type == 0 && !spec.alternate) return general_digits(magnitude, std::max(precision, 1));
  std::string form = spec.alternate ? "{:#.{}" : "{:.{}";
  form += general ? (capital ? 'G' : 'g') : spec.type == 'e' || spec.type == 'E' ? spec.type : 'f';
  form += '}';
  const double number = spec.type == '%' ? magnitude * 100 : magnitude;
  const int digits = general ? std::max(precision, 1) : precision;
  return fmt::format(fmt::runtime(form), number, digits) + (spec.type == '%' ? "%" : "");
}

std::string format_number(Evaluator& ev, const Spec& spec, const Value& value) {
  const bool real = value.is_real() || is_any_of(spec.type, "eEfFgG%");
  const bool negative = real ? std::signbit(value.real()) && !std::isnan(value.real()) : value.integer() < 0;
  std::string sign = negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  std::string digits;
  if (real) {
    digits = real_digits(spec, std::abs(value.real()));
  } else {
    const auto bits = static_cast<uint64_t>(value.integer());
    digits = integer_digits(spec, negative ? 0 - bits : bits);
    if (spec.alternate && is_any_of(spec.type, "xXob")) sign += {'0', spec.type};
  }
  if (spec.thousands != 0) digits = group_digits(digits, spec.thousands, is_any_of(spec.type, "xXob") ? 4 : 3);
  return pad(ev, spec, sign, digits, spec.align != 0 ? spec.align : spec.zero ? '=' : '>');
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
    if (peek() == '%') {
      ++at_;
      return out_.append('%');
    }
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
    if (!is_any_of(spec.type, "sracdiuxXoeEfFgG")) raise("unsupported format character '{}'", spec.type);
    if (!mapped) value = take();
    used_ += mapped;
    spec.align = left ? '<' : '>';
    emit(spec, value, zero && !left);
  }

  void emit(Spec spec, const Value& value, bool zero) {
    const auto is = [&](std::string_view types) { return is_any_of(spec.type, types); };
    if (is("sra")) {
      std::string text = spec.type == 's'   ? ev_.print(value)
                         : spec.type == 'r' ? repr(value, ev_.text_limit())
                                            : ascii_repr(value, ev_.text_limit());
      if (safe_ && !value.is_safe()) text = escape_html(text, ev_.text_limit());
      return out_.append(format_text(ev_, spec, text, spec.align));
    }
    if (spec.type == 'c') return emit_character(spec, value);
    if (value.is_undefined()) raise("{}", value.undefined_message());
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
      if (rest[1] == 'r') {
        value = ev_.text(repr(value, ev_.text_limit()));
      } else if (rest[1] == 'a') {
        value = ev_.text(ascii_repr(value, ev_.text_limit()));
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
    const bool filled = after > 0 && after < text.size() && is_align(text[after]);
    if (filled) {
      spec.fill = text.substr(0, after);
      spec.align = text[after];
      at = after + 1;
    } else if (is_align(peek())) {
      spec.align = text[at++];
    }
    spec.signs = peek() == '+' || peek() == '-' || peek() == ' ';
    if (spec.signs) spec.sign = text[at++];
    if (peek() == '#') spec.alternate = text[at++] == '#';
    if (peek() == '0' && !filled) {
      ++at;
      spec.fill = "0";
      spec.zero = true;
    }
    spec.width = parse_number(text, at);
    if (peek() == ',' || peek() == '_') spec.thousands = text[at++];
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

  static void check_spec(const Value& value, const Spec& spec) {
    if (!value.is_text() && !value.is_number()) raise("unsupported format string passed to {}", value.type_name());
    const std::string_view types = value.is_text() ? "s" : value.is_real() ? "eEfFgGn%" : "bcdoxXneEfFgG%";
    if (spec.type != 0 && !is_any_of(spec.type, types)) {
      raise("unknown format code '{}' for object of type '{}'", spec.type, value.type_name());
    }
    const bool ungrouped = value.is_text() || is_any_of(spec.type, spec.thousands == ',' ? "cnbxXo" : "cn");
    if (spec.thousands != 0 && ungrouped) raise("'{}' between digits is for numbers in base 10", spec.thousands);
    if (value.is_text()) {
      if (spec.signs) raise("a sign or space is not allowed in the format of a string");
      if (spec.alternate) raise("alternate form (#) is not allowed in the format of a string");
      if (spec.align == '=') raise("'=' alignment is not allowed in the format of a string");
    } else if (value.is_index() && spec.precision >= 0 && !is_any_of(spec.type, "eEfFgG%")) {
      raise("precision is not allowed in the format of an integer");
    } else if (spec.type == 'c' && (spec.signs || spec.alternate)) {
      raise("a sign or alternate form (#) is not allowed with 'c'");
    }
  }

  std::string format_character(const Value& value, const Spec& spec) {
    const int64_t point = value.integer();
    if (point < 0 || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) raise("{} is no character", point);
    std::string text;
    append_point(text, static_cast<int32_t>(point));
    return pad(ev_, spec, "", text, spec.align != 0 ? spec.align : spec.zero ? '=' : '>');
  }

  std::string apply(const Value& value, const std::string& text) {
    if (text.empty()) return ev_.print(value);
    const Spec spec = parse_spec(text);
    check_spec(value, spec);
    if (value.is_text()) return format_text(ev_, spec, value.view(), spec.align != 0 ? spec.align : '<');
    if (spec.type == 'c') return format_character(value, spec);
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

#include "text/jinja_lexer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "text/jinja_limits.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

constexpr std::array<std::string_view, 26> kOperators = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "*",
                                                         "/",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

int digit_value(char c) {
  if (is_ascii_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

bool starts_name(int32_t point) {
  return point == '_' || is_alpha(point) || utf8proc_category(point) == UTF8PROC_CATEGORY_NL;
}

bool continues_name(int32_t point) {
  const auto kind = utf8proc_category(point);
  return starts_name(point) || is_decimal(point) || kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC ||
         kind == UTF8PROC_CATEGORY_PC;
}

// "\r\n" and "\r" become "\n", and one line end at the end of the template is dropped.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : storage_(std::move(source)), source_(storage_) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_data();
    push(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string message, int line) const {
    throw Failure{core::ErrorCode::kInvalid, std::move(message), line};
  }

  bool has(size_t at, std::string_view text) const {
    return source_.substr(std::min(at, source_.size()), text.size()) == text;
  }

  Token& push(TokenKind kind, std::string text = {}) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  // Moves to `to`, counting lines.
  void advance(size_t to) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
    line_starting_ = to > 0 && source_[to - 1] == '\n';
  }

  size_t skip_space(size_t at) const {
    while (at < source_.size()) {
      size_t next = at;
      if (!is_space(next_point(source_, next))) break;
      at = next;
    }
    return at;
  }

  // Text before a tag, trimmed as the tag's sign (or lstrip_blocks) asks.
  std::string_view trim_before(std::string_view text, char sign, bool lstrip) const {
    if (sign == '-') return strip(text, nullptr, false, true);
    if (sign == '+' || !lstrip) return text;
    const size_t newline = text.rfind('\n');
    const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
    if (start == 0 && !line_starting_) return text;
    return strip(text.substr(start), nullptr, true, false).empty() ? text.substr(0, start) : text;
  }

  void push_data(std::string_view text, size_t to) {
    if (!text.empty()) push(TokenKind::kData, std::string(text));
    advance(to);
  }

  static char sign_of(char c) { return c == '-' || c == '+' ? c : 0; }
  char char_at(size_t at) const { return at < source_.size() ? source_[at] : '\0'; }

  // Position behind "%}" or "#}" with its sign, if it is at `at`: "-" eats white space, none eats one line end.
  std::optional<size_t> match_end(size_t at, std::string_view end) const {
    const char sign = sign_of(char_at(at));
    if (sign != 0 && has(at + 1, end)) {
      const size_t behind = at + 1 + end.size();
      return sign == '-' ? skip_space(behind) : behind;
    }
    if (!has(at, end)) return std::nullopt;
    const size_t behind = at + end.size();
    return has(behind, "\n") ? behind + 1 : behind;
  }

  void lex_data() {
    size_t open = at_;
    while (true) {
      open = source_.find('{', open);
      if (open == std::string_view::npos) return push_data(source_.substr(at_), source_.size());
      const char next = char_at(open + 1);
      if (next == '%' || next == '{' || next == '#') break;
      ++open;
    }
    const char kind = source_[open + 1];
    const char sign = sign_of(char_at(open + 2));
    push_data(trim_before(source_.substr(at_, open - at_), sign, kind != '{'), open);
    const size_t inside = open + 2 + (sign != 0);
    if (kind == '#') return lex_comment(inside);
    if (kind == '%' && lex_raw(inside)) return;
    push(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin);
    advance(inside);
    lex_tag(kind == '{');
  }

  void lex_comment(size_t at) {
    for (size_t end = at; end < source_.size(); ++end) {
      const auto behind = match_end(end, "#}");
      if (behind) return advance(*behind);
    }
    fail("Missing end of comment tag", line_);
  }

  bool lex_raw(size_t inside) {
    size_t at = skip_space(inside);
    if (!has(at, "raw")) return false;
    at = skip_space(at + 3);
    if (has(at, "-%}")) {
      at = skip_space(at + 3);
    } else if (has(at, "%}")) {
      at += 2;
    } else {
      return false;
    }
    const int line = line_;
    advance(at);
    for (size_t open = source_.find("{%", at); open != std::string_view::npos; open = source_.find("{%", open + 1)) {
      const char sign = sign_of(char_at(open + 2));
      const size_t name = skip_space(open + 2 + (sign != 0));
      if (!has(name, "endraw")) continue;
      const auto behind = match_end(skip_space(name + 6), "%}");
      if (!behind) continue;
      push_data(trim_before(source_.substr(at_, open - at_), sign, true), open);
      advance(*behind);
      return true;
    }
    // The reference's rule for a missing end needs a character to fail on.
    if (at_ >= source_.size()) return true;
    fail("Missing end of raw directive", line);
  }

  void lex_tag(bool variable) {
    std::string brackets;
    const int line = line_;
    while (true) {
      if (brackets.empty() && lex_tag_end(variable)) return;
      if (at_ >= source_.size()) fail("a tag is not closed before the end of the template", line);
      const size_t behind = skip_space(at_);
      if (behind != at_) {
        advance(behind);
        continue;
      }
      lex_token(brackets);
    }
  }

  bool lex_tag_end(bool variable) {
    std::optional<size_t> behind;
    if (variable) {
      if (has(at_, "-}}")) {
        behind = skip_space(at_ + 3);
      } else if (has(at_, "}}")) {
        behind = at_ + 2;
      }
    } else {
      behind = match_end(at_, "%}");
    }
    if (!behind) return false;
    push(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd);
    advance(*behind);
    return true;
  }

  void lex_token(std::string& brackets) {
    const char c = source_[at_];
    size_t next = at_;
    if (is_ascii_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    if (starts_name(next_point(source_, next))) return lex_name();
    for (const std::string_view sign : kOperators) {
      if (!has(at_, sign)) continue;
      balance(c, brackets);
      push(TokenKind::kOperator, std::string(sign));
      return advance(at_ + sign.size());
    }
    next = at_;
    next_point(source_, next);
    fail(fmt::format("unexpected character '{}'", source_.substr(at_, next - at_)), line_);
  }

  void balance(char c, std::string& brackets) const {
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '{') brackets += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (brackets.empty()) fail(fmt::format("unexpected '{}'", c), line_);
    if (brackets.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, brackets.back()), line_);
    brackets.pop_back();
  }

  void lex_name() {
    size_t end = at_;
    while (end < source_.size()) {
      size_t next = end;
      if (!continues_name(next_point(source_, next))) break;
      end = next;
    }
    push(TokenKind::kName, std::string(source_.substr(at_, end - at_)));
    advance(end);
  }

  // Digits of `base` with single underscores between them.
  size_t skip_digits(size_t at, int base) const {
    while (digit_value(char_at(at)) < base || (char_at(at) == '_' && digit_value(char_at(at + 1)) < base)) ++at;
    return at;
  }

  void push_integer(size_t digits, size_t end, int base) {
    std::string clean;
    for (const char c : source_.substr(digits, end - digits)) {
      if (c != '_') clean += c;
    }
    int64_t value = 0;
    const auto result = std::from_chars(clean.data(), clean.data() + clean.size(), value, base);
    if (result.ec != std::errc()) fail(fmt::format("the integer {} exceeds 64 bits", clean), line_);
    push(TokenKind::kInteger, clean).integer = value;
    advance(end);
  }

  void lex_number() {
    const char prefix = static_cast<char>(char_at(at_ + 1) | 0x20);
    const int base = source_[at_] != '0' ? 10 : prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
    if (base != 10) {
      const size_t digits = at_ + 2 + (char_at(at_ + 2) == '_');
      const size_t end = skip_digits(digits, base);
      if (end > digits) return push_integer(digits, end, base);
    }
    size_t end = skip_digits(at_, 10);
    const size_t integer_end = end;
    // The lexer of Jinja2 takes no number behind a dot: x.1.2 is two subscripts.
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_dot && char_at(end) == '.' && is_ascii_digit(char_at(end + 1))) end = skip_digits(end + 1, 10);
    if (!after_dot && (char_at(end) == 'e' || char_at(end) == 'E')) {
      const size_t digits = end + 1 + (char_at(end + 1) == '+' || char_at(end + 1) == '-');
      if (is_ascii_digit(char_at(digits))) end = skip_digits(digits, 10);
    }
    if (end == integer_end) return lex_decimal(end);
    std::string clean;
    for (const char c : source_.substr(at_, end - at_)) {
      if (c != '_') clean += c;
    }
    double value = 0;
    if (std::from_chars(clean.data(), clean.data() + clean.size(), value).ec != std::errc()) {
      fail(fmt::format("the number {} is out of range", clean), line_);
    }
    push(TokenKind::kReal, clean).real = value;
    advance(end);
  }

  // A zero may only be followed by zeros: 007 is 0, 0 and 7 to the lexer, which no grammar accepts.
  void lex_decimal(size_t end) {
    if (source_[at_] != '0') return push_integer(at_, end, 10);
    size_t zeros = at_;
    while (char_at(zeros) == '0' || (char_at(zeros) == '_' && char_at(zeros + 1) == '0')) ++zeros;
    push_integer(at_, zeros, 10);
  }

  void lex_string() {
    const char mark = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != mark) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a string is not closed", line_);
    push(TokenKind::kString, unescape(source_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1);
  }

  std::string unescape(std::string_view body) const {
    std::string out;
    for (size_t i = 0; i < body.size();) {
      if (body[i] != '\\') {
        out += body[i++];
      } else {
        unescape_one(body, i, out);
      }
    }
    return out;
  }

  // Reads one escape at body[i], as in a Python string literal.
  void unescape_one(std::string_view body, size_t& i, std::string& out) const {
    static constexpr std::string_view kNames = "abfnrtv\\'\"";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    const char c = body[i + 1];
    i += 2;
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      out += kValues[known];
    } else if (c == '\n') {
      return;
    } else if (c >= '0' && c <= '7') {
      int32_t point = 0;
      --i;
      for (int n = 0; n < 3 && i < body.size() && body[i] >= '0' && body[i] <= '7'; ++n)
        point = point * 8 + body[i++] - '0';
      append_point(out, point);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      unescape_hex(body, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
    } else if (c == 'N') {
      fail("\\N{...} escapes are not available in strings; write the character itself", line_);
    } else {
      out += '\\';
      --i;
      out += body[i++];
    }
  }

  void unescape_hex(std::string_view body, size_t& i, int digits, std::string& out) const {
    uint32_t point = 0;
    for (int n = 0; n < digits; ++n) {
      const int value = i < body.size() ? digit_value(body[i]) : 99;
      if (value > 15) fail("truncated \\x, \\u or \\U escape in a string", line_);
      point = point * 16 + static_cast<uint32_t>(value);
      ++i;
    }
    if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) fail("illegal Unicode character in a string", line_);
    append_point(out, static_cast<int32_t>(point));
  }

  std::string storage_;
  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::describe() const {
  switch (kind) {
    case TokenKind::kData:
      return "template data";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kEnd:
      return "end of template";
    default:
      return text;
  }
}

std::vector<Token> tokenize(std::string_view source) {
  if (source.size() > kMaxSource) raise_limit("a template longer than {} bytes", kMaxSource);
  if (!is_utf8(source)) raise("the template is not UTF-8");
  return Lexer(normalize(source)).run();
}

}  // namespace lamina::text::jinja

#include <optional>

#include "text/pattern.h"

namespace lamina::text {
namespace {

constexpr int kMaxClassDepth = 16;

/// Items of a PCRE2 class for the escapes whose meaning differs between the dialects.
struct ClassEscape {
  char name;
  std::string_view inside;   ///< between brackets
  std::string_view outside;  ///< alone
};

// Oniguruma's \w is Alphabetic + M + Nd + Pc and the Latin-1 superscripts and fractions; its \h is a hexadecimal digit.
constexpr ClassEscape kEscapes[] = {
    {'s', R"(\p{White_Space})", R"(\p{White_Space})"},
    {'S', R"(\P{White_Space})", R"(\P{White_Space})"},
    {'d', R"(\p{Nd})", R"(\p{Nd})"},
    {'D', R"(\P{Nd})", R"(\P{Nd})"},
    {'w', R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})",
     R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}])"},
    {'W', "", R"([^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}])"},
    {'h', "0-9a-fA-F", "[0-9a-fA-F]"},
    {'H', "", "[^0-9a-fA-F]"},
};

/// Escapes that mean the same in both dialects, besides escaped punctuation.
constexpr std::string_view kSharedEscapes = "bBAzZGtnrfaevxpPk0123456789uKR";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  core::Result<std::string> run() {
    std::string out;
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        LAMINA_ASSIGN(const std::string item, escape(false));
        out += item;
      } else if (c == '[') {
        LAMINA_ASSIGN(const std::string item, character_class(0));
        out += item;
      } else if (c == '(') {
        LAMINA_ASSIGN(const std::string item, group());
        out += item;
      } else if (c == '}' && at_ + 1 < pattern_.size() && pattern_[at_ + 1] == '+') {
        return refuse("\"}+\" (possessive in one dialect, repeated in the other)");
      } else {
        out += c;
        ++at_;
      }
    }
    return out;
  }

 private:
  std::unexpected<core::Error> refuse(std::string_view what) const {
    return core::fail(core::ErrorCode::kUnsupported, "pattern", "\"{}\" uses {} at byte {}, which is not supported",
                      pattern_, what, at_);
  }

  /// Copies "(" with its option letters; Ruby's (?m) is the others' (?s).
  core::Result<std::string> group() {
    std::string out = "(";
    ++at_;
    if (pattern_.substr(at_, 1) == "*") return refuse("a backtracking verb");
    if (pattern_.substr(at_, 1) != "?") return out;
    out += '?';
    ++at_;
    const size_t end = pattern_.find_first_not_of("imx-", at_);
    if (end == std::string_view::npos) return refuse("an unfinished group");
    if (pattern_[end] != ':' && pattern_[end] != ')') {
      if (pattern_.find_first_of("RPC&+0123456789", at_) == at_) return refuse("recursion, a callout or a Perl group");
      return out;
    }
    for (; at_ < end; ++at_) out += pattern_[at_] == 'm' ? 's' : pattern_[at_];
    return out;
  }

  core::Result<std::string> escape(bool inside) {
    if (at_ + 1 >= pattern_.size()) return refuse("a backslash at the end");
    const char name = pattern_[at_ + 1];
    for (const ClassEscape& known : kEscapes) {
      if (known.name != name) continue;
      if (inside && known.inside.empty()) return refuse("a negated escape inside a class");
      at_ += 2;
      return std::string(inside ? known.inside : known.outside);
    }
    const auto byte = static_cast<unsigned char>(name);
    const bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
    const bool digit = byte >= '0' && byte <= '9';
    if ((letter || digit) && kSharedEscapes.find(name) == std::string_view::npos) return refuse("an unknown escape");
    if (name == 'u') return code_point();
    if (name == 'p' || name == 'P') return property();
    at_ += 2;
    // A multi-byte character after the backslash keeps its first byte here and the rest in the main loop.
    return std::string{'\\', name};
  }

  /// \uHHHH becomes \x{HHHH}.
  core::Result<std::string> code_point() {
    const std::string_view digits = pattern_.substr(at_ + 2, 4);
    if (digits.size() < 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      return refuse("\\u without four hexadecimal digits");
    }
    at_ += 6;
    return "\\x{" + std::string(digits) + "}";
  }

  core::Result<std::string> property() {
    const size_t end = pattern_.substr(at_ + 2, 1) == "{" ? pattern_.find('}', at_) : at_ + 2;
    if (end >= pattern_.size()) return refuse("an unfinished property");
    std::string out(pattern_.substr(at_, end + 1 - at_));
    at_ = end + 1;
    return out;
  }

  /// A class with its nested classes and intersections, as one PCRE2 item.
  core::Result<std::string> character_class(int depth) {
    if (depth > kMaxClassDepth) return refuse("classes nested too deeply");
    ++at_;
    const bool negated = pattern_.substr(at_, 1) == "^";
    if (negated) ++at_;
    std::vector<std::string> operands;
    std::string items;
    std::vector<std::string> nested;
    for (bool first = true;; first = false) {
      if (at_ >= pattern_.size()) return refuse("an unfinished class");
      const char c = pattern_[at_];
      if (c == ']' && !first) break;
      if (pattern_.substr(at_, 2) == "&&") {
        operands.push_back(join(items, nested));
        at_ += 2;
      } else if (pattern_.substr(at_, 2) == "[:") {
        LAMINA_CHECK_OK(posix_class(items));
      } else if (c == '[') {
        LAMINA_ASSIGN(std::string inner, character_class(depth + 1));
        nested.push_back(std::move(inner));
      } else if (c == '\\') {
        LAMINA_ASSIGN(const std::string item, escape(true));
        items += item;
      } else {
        if (c == ']') items += '\\';
        items += c;
        ++at_;
      }
    }
    ++at_;
    if (operands.empty() && nested.empty()) return (negated ? "[^" : "[") + items + "]";
    std::string all;
    for (const std::string& operand : operands) all += "(?=" + operand + ")";
    all += join(items, nested);
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  core::Status posix_class(std::string& items) {
    const size_t end = pattern_.find(":]", at_);
    if (end == std::string_view::npos) return refuse("an unfinished [: :]");
    items += pattern_.substr(at_, end + 2 - at_);
    at_ = end + 2;
    return {};
  }

  /// The union of plain items and nested classes; clears both.
  static std::string join(std::string& items, std::vector<std::string>& nested) {
    std::string out = "(?:";
    if (!items.empty()) out += "[" + items + "]";
    for (const std::string& inner : nested) out += (out.size() > 3 ? "|" : "") + inner;
    items.clear();
    nested.clear();
    return out + ")";
  }

  std::string_view pattern_;
  size_t at_ = 0;
};

}  // namespace

core::Result<std::string> translate_pattern(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace lamina::text

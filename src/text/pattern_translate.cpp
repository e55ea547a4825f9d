#include <fmt/format.h>

#include <algorithm>

#include "text/pattern.h"
#include "text/unicode_tables.h"

namespace lamina::text {
namespace {

constexpr int kMaxClassDepth = 16;

/// Items of a PCRE2 class for the escapes whose meaning differs between the dialects.
struct ClassEscape {
  char name;
  std::string_view inside;   ///< between brackets
  std::string_view outside;  ///< alone
};

constexpr ClassEscape kEscapes[] = {
    {'s', R"(\p{White_Space})", R"(\p{White_Space})"},
    {'S', R"(\P{White_Space})", R"(\P{White_Space})"},
    {'h', "0-9a-fA-F", "[0-9a-fA-F]"},
    {'H', "", "[^0-9a-fA-F]"},
};

// Oniguruma's \w is Alphabetic + M + Nd + Pc and the Latin-1 superscripts and fractions.
constexpr std::string_view kWordProperties[] = {"Alphabetic", "M", "Nd", "Pc"};
constexpr std::string_view kWordOthers = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

std::string class_items(std::span<const tables::UnicodeSpan> spans) {
  std::string out;
  for (const auto& span : spans) {
    if (span.first > span.last) continue;  // how an empty list is written
    out += fmt::format("\\x{{{:X}}}", static_cast<uint32_t>(span.first));
    if (span.last != span.first) out += fmt::format("-\\x{{{:X}}}", static_cast<uint32_t>(span.last));
  }
  return out;
}

/// A property as PCRE2 writes it, with what the reference counts to it (`items`, for a class) and does not (`except`).
struct Property {
  std::string name;
  std::string added;
  std::string except;
  std::string items() const { return "\\p{" + name + "}" + added; }
};

Property find_property(std::string_view name) {
  const auto folded = [](std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c != '_' && c != ' ' && c != '-') out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    return out;
  };
  constexpr std::pair<std::string_view, std::string_view> kLongNames[] = {
      {"letter", "L"},
      {"mark", "M"},
      {"number", "N"},
      {"punctuation", "P"},
      {"symbol", "S"},
      {"separator", "Z"},
      {"other", "C"},
      {"alpha", "Alphabetic"},
      {"punct", "P"},
      {"digit", "Nd"},
      {"uppercaseletter", "Lu"},
      {"lowercaseletter", "Ll"},
      {"titlecaseletter", "Lt"},
      {"modifierletter", "Lm"},
      {"otherletter", "Lo"},
      {"decimalnumber", "Nd"},
      {"space", "White_Space"},
  };
  std::string wanted = folded(name);
  for (const auto& [full, brief] : kLongNames) {
    if (wanted == full) wanted = folded(brief);
  }
  for (const tables::PropertyRow& row : tables::kProperties) {
    if (folded(row.name) != wanted) continue;
    return {(row.script ? "sc:" : "") + std::string(row.name), class_items(row.added), class_items(row.removed)};
  }
  return {wanted == "whitespace" ? "White_Space" : wanted == folded(name) ? std::string(name) : wanted, "", ""};
}

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
        LAMINA_ASSIGN(const std::string item, escape(nullptr));
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

  /// \d, \D, \w, \W as a class.
  static std::string class_escape(char name) {
    std::string out = (name & 0x20) == 0 ? "[^" : "[";
    if ((name | 0x20) == 'd') return out + find_property("Nd").items() + "]";
    for (const std::string_view part : kWordProperties) out += find_property(part).items();
    return out + std::string(kWordOthers) + "]";
  }

  /// One escape. What cannot stand among the items of a class goes to `nested`, which is null outside of one.
  core::Result<std::string> escape(std::vector<std::string>* nested) {
    const bool inside = nested != nullptr;
    if (at_ + 1 >= pattern_.size()) return refuse("a backslash at the end");
    const char name = pattern_[at_ + 1];
    if (std::string_view("dDwW").contains(name)) {
      at_ += 2;
      std::string whole = class_escape(name);
      if (!inside) return whole;
      if ((name & 0x20) != 0) return whole.substr(1, whole.size() - 2);
      nested->push_back(std::move(whole));
      return "";
    }
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
    if (name == 'p' || name == 'P') return property(nested);
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

  core::Result<std::string> property(std::vector<std::string>* nested) {
    const bool braces = pattern_.substr(at_ + 2, 1) == "{";
    const size_t end = braces ? pattern_.find('}', at_) : at_ + 2;
    if (end >= pattern_.size()) return refuse("an unfinished property");
    std::string_view name = braces ? pattern_.substr(at_ + 3, end - at_ - 3) : pattern_.substr(at_ + 2, 1);
    bool negated = pattern_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    at_ = end + 1;
    const Property found = find_property(name);
    if (found.added.empty() && found.except.empty()) return (negated ? "\\P{" : "\\p{") + found.name + "}";
    if (nested != nullptr && !negated && found.except.empty()) return found.items();
    std::string whole = negated ? "[^" + found.items() + "]" : "[" + found.items() + "]";
    if (!found.except.empty()) {
      const std::string except = "[" + found.except + "]";
      whole = negated ? "(?:" + except + "|" + whole + ")" : "(?:(?!" + except + ")" + whole + ")";
    }
    if (nested == nullptr) return whole;
    nested->push_back(std::move(whole));
    return "";
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
        LAMINA_ASSIGN(const std::string item, escape(&nested));
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

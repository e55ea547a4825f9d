#include "text/regex_parser.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>

#include "text/utf8.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

constexpr int kMaxDepth = 100;
constexpr int64_t kMaxRepeat = 10'000;
constexpr std::string_view kPlace = "pattern";

const CharacterSet kDigits{{'0', '9'}};
const CharacterSet kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
/// White space and line ends of ECMA-262.
const CharacterSet kSpace{{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharacterSet kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

struct Category {
  std::string_view name;
  utf8proc_category_t first, last;
};
/// General categories, whose numbers utf8proc has in this order.
constexpr std::array kCategories{
    Category{"L", UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO},
    Category{"Letter", UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO},
    Category{"Lu", UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LU},
    Category{"Ll", UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LL},
    Category{"Lt", UTF8PROC_CATEGORY_LT, UTF8PROC_CATEGORY_LT},
    Category{"Lm", UTF8PROC_CATEGORY_LM, UTF8PROC_CATEGORY_LM},
    Category{"Lo", UTF8PROC_CATEGORY_LO, UTF8PROC_CATEGORY_LO},
    Category{"M", UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME},
    Category{"N", UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO},
    Category{"Nd", UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_ND},
    Category{"Nl", UTF8PROC_CATEGORY_NL, UTF8PROC_CATEGORY_NL},
    Category{"No", UTF8PROC_CATEGORY_NO, UTF8PROC_CATEGORY_NO},
    Category{"P", UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO},
    Category{"S", UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO},
    Category{"Z", UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZP},
    Category{"Zs", UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZS},
};

CharacterSet characters_of(const Category& category) {
  CharacterSet out;
  for (char32_t c = 0; c <= kLastCharacter; ++c) {
    const auto found = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    if (found < category.first || found > category.last) continue;
    if (!out.empty() && out.back().last + 1 == c) {
      out.back().last = c;
    } else {
      out.push_back({c, c});
    }
  }
  return out;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<RegexNode> parse() {
    LAMINA_ASSIGN(RegexNode node, choice(0));
    if (at_ < text_.size()) return wrong("')' without '('");
    return node;
  }

 private:
  template <typename... Args>
  std::unexpected<core::Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    return fail(ErrorCode::kInvalid, fmt::format("{}, byte {}", kPlace, at_), format, std::forward<Args>(args)...);
  }
  std::unexpected<core::Error> unsupported(std::string_view what) const {
    return fail(ErrorCode::kUnsupported, fmt::format("{}, byte {}", kPlace, at_), "{} cannot be kept to while writing",
                what);
  }
  bool more() const { return at_ < text_.size(); }
  bool looking_at(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool take(std::string_view what) {
    if (!looking_at(what)) return false;
    at_ += what.size();
    return true;
  }

  Result<RegexNode> choice(int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::kLimit, kPlace, "groups are nested deeper than {}", kMaxDepth);
    RegexNode node{.kind = RegexNode::Kind::kChoice};
    do {
      LAMINA_ASSIGN(RegexNode part, sequence(depth));
      node.parts.push_back(std::move(part));
    } while (take("|"));
    if (node.parts.size() == 1) return RegexNode(std::move(node.parts.front()));
    return node;
  }

  Result<RegexNode> sequence(int depth) {
    RegexNode node{.kind = RegexNode::Kind::kSequence};
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      LAMINA_ASSIGN(RegexNode part, repeat(depth));
      node.parts.push_back(std::move(part));
    }
    if (node.parts.size() == 1) return RegexNode(std::move(node.parts.front()));
    return node;
  }

  Result<RegexNode> repeat(int depth) {
    LAMINA_ASSIGN(RegexNode part, atom(depth));
    int64_t least = 0;
    int64_t most = -1;
    if (take("*")) {
    } else if (take("+")) {
      least = 1;
    } else if (take("?")) {
      most = 1;
    } else if (looking_at("{")) {
      LAMINA_CHECK_OK(counts(least, most));
    } else {
      return part;
    }
    if (part.kind == RegexNode::Kind::kBegin || part.kind == RegexNode::Kind::kEnd)
      return wrong("nothing to repeat before it");
    if (looking_at("+")) return unsupported("a possessive quantifier");
    take("?");  // which match is found first changes nothing in what matches
    if (more() && (text_[at_] == '*' || text_[at_] == '+' || text_[at_] == '?' || text_[at_] == '{'))
      return wrong("nothing to repeat before it");
    RegexNode node{.kind = RegexNode::Kind::kRepeat, .least = least, .most = most};
    node.parts.push_back(std::move(part));
    return node;
  }

  Result<int64_t> number() {
    int64_t value = 0;
    const size_t begin = at_;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value * 10 + (text_[at_++] - '0');
      if (value > kMaxRepeat) return fail(ErrorCode::kLimit, kPlace, "more than {} repetitions", kMaxRepeat);
    }
    if (begin == at_) return wrong("a number expected in {{ }}; a brace itself is written \\{{");
    return value;
  }

  core::Status counts(int64_t& least, int64_t& most) {
    take("{");
    LAMINA_ASSIGN(least, number());
    most = least;
    if (take(",")) {
      most = -1;
      if (!looking_at("}")) {
        LAMINA_ASSIGN(most, number());
        if (most < least) return wrong("{} to {} repetitions", least, most);
      }
    }
    if (!take("}")) return wrong("'}}' expected");
    return {};
  }

  static RegexNode characters(CharacterSet set) {
    return {.kind = RegexNode::Kind::kCharacters, .characters = sorted(std::move(set))};
  }

  Result<RegexNode> atom(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return klass();
    if (take(".")) return characters(complement(kLineEnds));
    if (take("^")) return RegexNode{.kind = RegexNode::Kind::kBegin};
    if (take("$")) return RegexNode{.kind = RegexNode::Kind::kEnd};
    if (take("\\")) {
      LAMINA_ASSIGN(CharacterSet set, escape(false));
      return characters(std::move(set));
    }
    if (looking_at("*") || looking_at("+") || looking_at("?") || looking_at("{"))
      return wrong("nothing to repeat before it");
    if (looking_at("]") || looking_at("}")) return wrong("it is written \\{}", text_[at_]);
    const char32_t c = next_character(text_, at_);
    return characters({{c, c}});
  }

  Result<RegexNode> group(int depth) {
    if (take("?")) {
      if (looking_at("=") || looking_at("!") || looking_at("<=") || looking_at("<!")) return unsupported("look-around");
      if (take("<") || take("P<")) {
        while (more() && text_[at_] != '>') ++at_;
        if (!take(">")) return wrong("'>' expected behind the group's name");
      } else if (!take(":")) {
        return unsupported("a flag");
      }
    }
    LAMINA_ASSIGN(RegexNode inner, choice(depth + 1));
    if (!take(")")) return wrong("')' expected");
    return inner;
  }

  Result<RegexNode> klass() {
    const bool negated = take("^");
    CharacterSet set;
    while (more() && !looking_at("]")) {
      LAMINA_ASSIGN(const CharacterSet first, class_atom());
      const bool range = looking_at("-") && !looking_at("-]");
      if (!range) {
        set.insert(set.end(), first.begin(), first.end());
        continue;
      }
      take("-");
      LAMINA_ASSIGN(const CharacterSet last, class_atom());
      const bool single = first.size() == 1 && last.size() == 1 && first[0].first == first[0].last &&
                          last[0].first == last[0].last && first[0].first <= last[0].first;
      if (!single) return wrong("a range from a lower character to a higher one expected");
      set.push_back({first[0].first, last[0].first});
    }
    if (!take("]")) return wrong("']' expected");
    set = sorted(std::move(set));
    return RegexNode{.kind = RegexNode::Kind::kCharacters, .characters = negated ? complement(set) : std::move(set)};
  }

  Result<CharacterSet> class_atom() {
    if (!more()) return wrong("']' expected");
    if (take("\\")) return escape(true);
    const char32_t c = next_character(text_, at_);
    return CharacterSet{{c, c}};
  }

  /// What follows a backslash.
  Result<CharacterSet> escape(bool in_class) {
    if (!more()) return wrong("a character expected behind the backslash");
    const char32_t c = next_character(text_, at_);
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return complement(kDigits);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord);
      case 's':
        return kSpace;
      case 'S':
        return complement(kSpace);
      case 'p':
      case 'P':
        return category(c == 'P');
      case 'b':
        if (in_class) return CharacterSet{{8, 8}};
        return unsupported("a word border");
      case 'B':
        return unsupported("a word border");
      case 'k':
        return unsupported("a back reference");
      default:
        break;
    }
    if (c >= '1' && c <= '9') return unsupported("a back reference");
    LAMINA_ASSIGN(const char32_t one, character_escape(c));
    return CharacterSet{{one, one}};
  }

  Result<char32_t> character_escape(char32_t c) {
    constexpr std::string_view kNames = "ntrfv0";
    constexpr std::string_view kValues("\n\t\r\f\v\0", 6);
    if (c < 0x80) {
      const size_t named = kNames.find(static_cast<char>(c));
      if (named != std::string_view::npos) return static_cast<char32_t>(kValues[named]);
    }
    if (c == 'x') return hex(2);
    if (c == 'u') return unicode();
    if (c == 'U') return hex(8);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || c == '_') return unsupported("the escape");
    return c;
  }

  Result<char32_t> hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = more() ? text_[at_] : ' ';
      const bool digit = c >= '0' && c <= '9';
      const char lower = static_cast<char>(c | 0x20);
      if (!digit && (lower < 'a' || lower > 'f')) return wrong("{} hexadecimal digits expected", digits);
      value = value * 16 + static_cast<char32_t>(digit ? c - '0' : lower - 'a' + 10);
    }
    if (value > kLastCharacter) return wrong("no character has this number");
    return value;
  }

  Result<char32_t> unicode() {
    if (take("{")) {
      char32_t value = 0;
      while (more() && text_[at_] != '}') {
        LAMINA_ASSIGN(const char32_t digit, hex(1));
        value = value * 16 + digit;
        if (value > kLastCharacter) return wrong("no character has this number");
      }
      if (!take("}")) return wrong("'}}' expected");
      return value;
    }
    LAMINA_ASSIGN(const char32_t high, hex(4));
    if (high >= 0xD800 && high <= 0xDBFF && take("\\u")) {
      LAMINA_ASSIGN(const char32_t low, hex(4));
      if (low < 0xDC00 || low > 0xDFFF) return wrong("the second half of a character expected");
      return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    return high;
  }

  Result<CharacterSet> category(bool negated) {
    if (!take("{")) return wrong("'{{' expected behind \\p");
    const size_t end = text_.find('}', at_);
    if (end == std::string_view::npos) return wrong("'}}' expected");
    const std::string_view name = text_.substr(at_, end - at_);
    const auto found = std::ranges::find(kCategories, name, &Category::name);
    if (found == kCategories.end()) return unsupported("this property of characters");
    at_ = end + 1;
    const CharacterSet set = characters_of(*found);
    return negated ? complement(set) : set;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<RegexNode> parse_regex(std::string_view pattern) {
  if (valid_prefix(pattern) != pattern.size()) return fail(ErrorCode::kInvalid, kPlace, "it is not UTF-8");
  return Parser(pattern).parse();
}

}  // namespace lamina::text

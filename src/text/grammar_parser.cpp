#include <algorithm>
#include <map>

#include "text/grammar.h"
#include "text/regex_parser.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

constexpr int kMaxDepth = 100;
constexpr int64_t kMaxRepeat = 10'000;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Grammar> parse() {
    skip_space(true);
    while (at_ < text_.size()) LAMINA_CHECK_OK(rule());
    for (const Grammar::NamedRule& one : grammar_.rules()) {
      if (one.body < 0) return fail(ErrorCode::kInvalid, "grammar", "the rule {} is used and not defined", one.name);
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) return fail(ErrorCode::kInvalid, "grammar", "a rule named root expected");
    grammar_.root = root->second;
    return std::move(grammar_);
  }

 private:
  template <typename... Args>
  std::unexpected<core::Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    const auto line = 1 + std::ranges::count(text_.substr(0, at_), '\n');
    return fail(ErrorCode::kInvalid, fmt::format("grammar, line {}", line), format, std::forward<Args>(args)...);
  }
  bool more() const { return at_ < text_.size(); }
  bool looking_at(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool take(std::string_view what) {
    if (!looking_at(what)) return false;
    at_ += what.size();
    return true;
  }

  /// Spaces and comments; ends of lines too, where a rule may go on behind them.
  void skip_space(bool lines) {
    while (more()) {
      if (text_[at_] == '#') {
        while (more() && text_[at_] != '\n') ++at_;
      } else if (text_[at_] == ' ' || text_[at_] == '\t' || (lines && (text_[at_] == '\n' || text_[at_] == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string_view name() {
    const size_t begin = at_;
    while (more() && is_name(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  Grammar::Rule rule_named(std::string_view name) {
    const auto found = rules_.find(name);
    if (found != rules_.end()) return found->second;
    const Grammar::Rule rule = grammar_.declare(std::string(name));
    rules_.emplace(name, rule);
    return rule;
  }

  core::Status rule() {
    const std::string_view own = name();
    if (own.empty()) return wrong("a rule's name expected");
    const Grammar::Rule rule = rule_named(own);
    if (grammar_.rules()[static_cast<size_t>(rule)].body >= 0) return wrong("the rule {} is defined twice", own);
    skip_space(false);
    if (!take("::=")) return wrong("'::=' expected behind {}", own);
    skip_space(true);
    LAMINA_ASSIGN(const Grammar::Part body, choice(0));
    grammar_.define(rule, body);
    if (more() && text_[at_] != '\n' && text_[at_] != '\r') return wrong("the end of the rule expected");
    skip_space(true);
    return {};
  }

  Result<Grammar::Part> choice(int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::kLimit, "grammar", "groups are nested deeper than {}", kMaxDepth);
    std::vector<Grammar::Part> parts;
    while (true) {
      LAMINA_ASSIGN(const Grammar::Part part, sequence(depth));
      parts.push_back(part);
      // An alternative may begin on the next line.
      const size_t before = at_;
      skip_space(true);
      if (!take("|")) {
        if (depth == 0) at_ = before;
        break;
      }
      skip_space(true);
    }
    return parts.size() == 1 ? parts.front() : grammar_.choice(std::move(parts));
  }

  Result<Grammar::Part> sequence(int depth) {
    std::vector<Grammar::Part> parts;
    while (true) {
      skip_space(depth > 0);
      if (!more() || text_[at_] == '|' || text_[at_] == ')' || text_[at_] == '\n' || text_[at_] == '\r') break;
      LAMINA_ASSIGN(const Grammar::Part part, repeat(depth));
      parts.push_back(part);
    }
    return parts.size() == 1 ? parts.front() : grammar_.sequence(std::move(parts));
  }

  Result<Grammar::Part> repeat(int depth) {
    LAMINA_ASSIGN(Grammar::Part part, atom(depth));
    while (more()) {
      int64_t least = 0;
      int64_t most = -1;
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (take("{")) {
        LAMINA_CHECK_OK(counts(least, most));
      } else {
        break;
      }
      part = grammar_.repeat(part, least, most);
    }
    return part;
  }

  Result<int64_t> number() {
    int64_t value = 0;
    const size_t begin = at_;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value * 10 + (text_[at_++] - '0');
      if (value > kMaxRepeat) return fail(ErrorCode::kLimit, "grammar", "more than {} repetitions", kMaxRepeat);
    }
    if (begin == at_) return wrong("a number expected");
    return value;
  }

  core::Status counts(int64_t& least, int64_t& most) {
    LAMINA_ASSIGN(least, number());
    most = least;
    if (take(",")) {
      most = -1;
      if (!looking_at("}")) {
        LAMINA_ASSIGN(most, number());
      }
    }
    if (!take("}")) return wrong("'}}' expected");
    if (most >= 0 && most < least) return wrong("{} to {} repetitions", least, most);
    return {};
  }

  Result<Grammar::Part> atom(int depth) {
    if (take("(")) {
      LAMINA_ASSIGN(const Grammar::Part inner, choice(depth + 1));
      skip_space(true);
      if (!take(")")) return wrong("')' expected");
      return inner;
    }
    if (looking_at("\"")) return literal();
    if (looking_at("[")) return klass();
    if (take(".")) return characters({{0, kLastCharacter}});
    const std::string_view own = name();
    if (own.empty()) return wrong("found '{}'; a literal, a class, a group or a rule's name expected", text_[at_]);
    return grammar_.rule(rule_named(own));
  }

  Grammar::Part characters(CharacterSet set) {
    Automaton one{.states = {{}, {.accepts = true}}};
    for (const CharacterRange& range : set) one.states[0].edges.push_back({range.first, range.last, 1});
    return grammar_.characters(trimmed(one), Spelling::kPlain);
  }

  /// The piece of the source between two marks, escapes left in it.
  Result<std::string_view> quoted(char end) {
    const size_t begin = ++at_;
    while (more() && text_[at_] != end && text_[at_] != '\n')
      at_ += text_[at_] == '\\' && at_ + 1 < text_.size() ? 2 : 1;
    if (!more() || text_[at_] != end) return wrong("'{}' expected", end);
    return text_.substr(begin, at_++ - begin);
  }

  Result<Grammar::Part> literal() {
    LAMINA_ASSIGN(const std::string_view inside, quoted('"'));
    std::string bytes;
    for (size_t i = 0; i < inside.size();) {
      if (inside[i] != '\\') {
        bytes.push_back(inside[i++]);
        continue;
      }
      size_t length = 2;
      const char kind = inside[i + 1];
      if (kind == 'x') length = 4;
      if (kind == 'u') length = 6;
      if (kind == 'U') length = 10;
      // An escape means in a literal what it means in a class.
      LAMINA_ASSIGN(const RegexNode one, parse_escape(inside.substr(i, length)));
      append_utf8(bytes, one.characters.front().first);
      i += length;
    }
    return grammar_.bytes(std::move(bytes));
  }

  Result<RegexNode> parse_escape(std::string_view escape) {
    auto one = parse_regex("[" + std::string(escape) + "]");
    const bool single = one && one->characters.size() == 1 && one->characters[0].first == one->characters[0].last;
    if (!single) return wrong("{} is no escape of one character", escape);
    return std::move(*one);
  }

  Result<Grammar::Part> klass() {
    LAMINA_ASSIGN(const std::string_view inside, quoted(']'));
    auto one = parse_regex("[" + std::string(inside) + "]");
    if (!one) return wrong("[{}]: {}", inside, one.error().message);
    return characters(std::move(one->characters));
  }

  std::string_view text_;
  size_t at_ = 0;
  Grammar grammar_;
  std::map<std::string, Grammar::Rule, std::less<>> rules_;
};

}  // namespace

Result<Grammar> parse_grammar(std::string_view source) {
  if (valid_prefix(source) != source.size()) return fail(ErrorCode::kInvalid, "grammar", "it is not UTF-8");
  return Parser(source).parse();
}

}  // namespace lamina::text

#include "text/jinja_parser.h"

#include <algorithm>
#include <array>

#include "text/jinja_parser_depth.h"

namespace lamina::text::jinja {
namespace {

/// Sets a flag for a scope.
class Restore {
 public:
  Restore(bool& flag, bool value) : flag_(flag), before_(std::exchange(flag, value)) {}
  ~Restore() { flag_ = before_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  bool& flag_;
  bool before_;
};

}  // namespace

const Token& Parser::next() {
  const Token& token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::skip_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  next();
  return true;
}

bool Parser::skip_operator(std::string_view sign) {
  if (!now().is_operator(sign)) return false;
  next();
  return true;
}

void Parser::expect_operator(std::string_view sign) {
  if (!skip_operator(sign)) fail(fmt::format("expected '{}', got '{}'", sign, now().describe()));
}

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail(fmt::format("expected '{}', got '{}'", name, now().describe()));
}

std::string Parser::expect_identifier() {
  if (now().kind != TokenKind::kName) fail(fmt::format("expected a name, got '{}'", now().describe()));
  return next().text;
}

void Parser::expect_block_end() {
  if (now().kind != TokenKind::kBlockEnd) fail(fmt::format("expected the end of the tag, got '{}'", now().describe()));
  next();
}

bool Parser::now_in(Names names) const {
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) { return now().is_name(name); });
}

void Parser::fail(const std::string& message, int line) const {
  throw Failure{core::ErrorCode::kInvalid, message, line != 0 ? line : now().line};
}

Body Parser::parse() {
  Body body = parse_until({}, {});
  if (!unknown_.empty()) fail(fmt::format("no {} named '{}'", unknown_[0].kind, unknown_[0].name), unknown_[0].line);
  return body;
}

void Parser::check_known(std::string_view kind, std::string_view name, int line) {
  if (!may_be_unknown_) unknown_.push_back({kind, std::string(name), line});
}

// Statements up to a tag of `ends`, whose name becomes the current token.
Body Parser::parse_until(Names ends, std::string_view tag) {
  const Deeper deeper(depth_, now().line);
  Body body;
  while (now().kind != TokenKind::kEnd) {
    const Token& token = now();
    if (token.kind == TokenKind::kData) {
      auto data = std::make_unique<Data>();
      data->line = token.line;
      data->text = token.text;
      next();
      body.push_back(std::move(data));
    } else if (token.kind == TokenKind::kVariableBegin) {
      auto print = std::make_unique<Print>();
      print->line = token.line;
      next();
      print->value = parse_tuple(true, false);
      if (now().kind != TokenKind::kVariableEnd) {
        fail(fmt::format("expected end of print statement, got '{}'", now().describe()));
      }
      next();
      body.push_back(std::move(print));
    } else {
      next();
      if (now_in(ends)) return body;
      body.push_back(parse_statement());
      expect_block_end();
    }
  }
  if (ends.size() != 0) fail(fmt::format("unexpected end of template; the tag '{}' is not closed", tag));
  return body;
}

// The rest of an opening tag, then statements up to a tag of `ends`.
Body Parser::parse_block(Names ends, std::string_view tag) {
  skip_operator(":");
  expect_block_end();
  return parse_until(ends, tag);
}

StatementPtr Parser::parse_statement() {
  struct Row {
    std::string_view name;
    StatementPtr (Parser::*parse)();
  };
  static constexpr std::array kRows = {
      Row{"if", &Parser::parse_if},           Row{"for", &Parser::parse_for},
      Row{"set", &Parser::parse_set},         Row{"macro", &Parser::parse_macro},
      Row{"call", &Parser::parse_call_block}, Row{"filter", &Parser::parse_filter_block},
      Row{"with", &Parser::parse_with},       Row{"generation", &Parser::parse_generation},
      Row{"print", &Parser::parse_print},     Row{"break", &Parser::parse_jump},
      Row{"continue", &Parser::parse_jump},
  };
  if (now().kind != TokenKind::kName) fail("tag name expected");
  for (const Row& row : kRows) {
    if (!now().is_name(row.name)) continue;
    const int line = now().line;
    StatementPtr statement = (this->*row.parse)();
    statement->line = line;
    return statement;
  }
  fail(
      fmt::format("unknown tag '{}'; chat templates have if, for, set, macro, call, filter, with, generation, print, "
                  "break, continue and raw",
                  now().text));
}

StatementPtr Parser::parse_if() {
  auto node = std::make_unique<If>();
  const Restore restore(may_be_unknown_, true);
  while (true) {
    next();  // if, elif
    ExpressionPtr condition = parse_tuple(false, false);
    Body body = parse_block({"elif", "else", "endif"}, "if");
    node->branches.emplace_back(std::move(condition), std::move(body));
    if (!now().is_name("elif")) break;
  }
  if (skip_name("else")) node->otherwise = parse_block({"endif"}, "if");
  next();
  return node;
}

StatementPtr Parser::parse_for() {
  auto node = std::make_unique<For>();
  next();
  node->target = parse_target(false, true);
  expect_name("in");
  node->iterable = parse_tuple(false, false, "recursive");
  if (skip_name("if")) node->filter = parse_expression();
  node->recursive = skip_name("recursive");
  ++loops_;
  const Restore restore(may_be_unknown_, false);
  node->body = parse_block({"endfor", "else"}, "for");
  --loops_;
  // A recursive loop is a function, which no jump leaves.
  const int loops = loops_;
  if (node->recursive) loops_ = 0;
  if (skip_name("else")) node->otherwise = parse_block({"endfor"}, "for");
  loops_ = loops;
  next();
  return node;
}

StatementPtr Parser::parse_set() {
  next();
  Target target = parse_target(true, false);
  if (skip_operator("=")) {
    auto node = std::make_unique<Set>();
    node->target = std::move(target);
    node->value = parse_tuple(true, false);
    return node;
  }
  auto node = std::make_unique<SetBlock>();
  node->target = std::move(target);
  const Restore restore(may_be_unknown_, false);
  if (now().is_operator("|")) node->filters = parse_filters_of_block();
  node->body = parse_block({"endset"}, "set");
  next();
  return node;
}

// A chain of filters whose input comes from a block; the first one may be introduced by "|".
ExpressionPtr Parser::parse_filters_of_block() {
  skip_operator("|");
  ExpressionPtr node = parse_filter(nullptr);
  while (skip_operator("|")) node = parse_filter(std::move(node));
  return node;
}

void Parser::parse_signature(Callable& callable) {
  expect_operator("(");
  while (!now().is_operator(")")) {
    if (!callable.parameters.empty()) expect_operator(",");
    callable.parameters.push_back(expect_identifier());
    if (skip_operator("=")) {
      callable.defaults.push_back(parse_expression());
    } else if (!callable.defaults.empty()) {
      fail("non-default argument follows default argument");
    }
  }
  expect_operator(")");
}

void Parser::parse_callable_body(Callable& callable, Names ends, std::string_view tag) {
  const int loops = std::exchange(loops_, 0);
  const Restore restore(may_be_unknown_, false);
  uses_.emplace_back();
  callable.body = parse_block(ends, tag);
  callable.uses_caller = uses_.back().caller;
  callable.uses_varargs = uses_.back().varargs;
  callable.uses_kwargs = uses_.back().kwargs;
  const Uses inner = uses_.back();
  uses_.pop_back();
  if (!uses_.empty()) {
    uses_.back().caller |= inner.caller;
    uses_.back().varargs |= inner.varargs;
    uses_.back().kwargs |= inner.kwargs;
  }
  loops_ = loops;
  next();
}

StatementPtr Parser::parse_macro() {
  auto node = std::make_unique<MacroDefinition>();
  node->callable.line = now().line;
  next();
  node->callable.name = expect_identifier();
  parse_signature(node->callable);
  parse_callable_body(node->callable, {"endmacro"}, "macro");
  return node;
}

StatementPtr Parser::parse_call_block() {
  auto node = std::make_unique<CallBlock>();
  node->callable.name = "caller";
  node->callable.line = now().line;
  next();
  if (now().is_operator("(")) parse_signature(node->callable);
  node->call = parse_expression();
  if (dynamic_cast<Call*>(node->call.get()) == nullptr) fail("expected call", node->callable.line);
  parse_callable_body(node->callable, {"endcall"}, "call");
  return node;
}

StatementPtr Parser::parse_filter_block() {
  auto node = std::make_unique<FilterBlock>();
  const Restore restore(may_be_unknown_, false);
  next();
  node->filters = parse_filters_of_block();
  node->body = parse_block({"endfilter"}, "filter");
  next();
  return node;
}

StatementPtr Parser::parse_with() {
  auto node = std::make_unique<Scoped>();
  const Restore restore(may_be_unknown_, false);
  next();
  while (now().kind != TokenKind::kBlockEnd) {
    if (!node->bindings.empty()) expect_operator(",");
    Target target = parse_target(false, false);
    expect_operator("=");
    ExpressionPtr value = parse_expression();
    node->bindings.emplace_back(std::move(target), std::move(value));
  }
  node->body = parse_block({"endwith"}, "with");
  next();
  return node;
}

StatementPtr Parser::parse_generation() {
  auto node = std::make_unique<Scoped>();
  next();
  // The reference implements this tag as a call block, which no jump leaves.
  const Restore restore(may_be_unknown_, false);
  const int loops = std::exchange(loops_, 0);
  node->body = parse_block({"endgeneration"}, "generation");
  loops_ = loops;
  next();
  return node;
}

StatementPtr Parser::parse_print() {
  auto node = std::make_unique<Print>();
  auto all = std::make_unique<Concat>();
  all->line = now().line;
  next();
  while (now().kind != TokenKind::kBlockEnd) {
    if (!all->parts.empty()) expect_operator(",");
    all->parts.push_back(parse_expression());
    grow(*all, all->parts.back());
  }
  node->value = std::move(all);
  return node;
}

StatementPtr Parser::parse_jump() {
  auto node = std::make_unique<Jump>();
  node->flow = now().is_name("break") ? Flow::kBreak : Flow::kContinue;
  if (loops_ == 0) fail(fmt::format("'{}' outside of a loop", now().text));
  next();
  return node;
}

Target Parser::parse_target_part(bool with_namespace) {
  const Deeper deeper(depth_, now().line);
  Target target;
  target.line = now().line;
  if (skip_operator("(")) {
    target = parse_target(with_namespace, false);
    expect_operator(")");
    return target;
  }
  target.name = expect_identifier();
  static constexpr std::array<std::string_view, 6> kConstants = {"true", "True", "false", "False", "none", "None"};
  if (std::find(kConstants.begin(), kConstants.end(), target.name) != kConstants.end()) fail("can't assign to 'const'");
  if (with_namespace && skip_operator(".")) target.attribute = expect_identifier();
  return target;
}

Target Parser::parse_target(bool with_namespace, bool until_in) {
  Target tuple;
  tuple.line = now().line;
  tuple.tuple = true;
  tuple.parts.push_back(parse_target_part(with_namespace));
  if (!now().is_operator(",")) return std::move(tuple.parts.front());
  while (skip_operator(",")) {
    if (now().is_operator(")") || now().is_operator("=") || now().kind == TokenKind::kBlockEnd) break;
    if (until_in && now().is_name("in")) break;
    tuple.parts.push_back(parse_target_part(with_namespace));
  }
  return tuple;
}

}  // namespace lamina::text::jinja

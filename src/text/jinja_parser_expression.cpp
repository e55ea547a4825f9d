#include <algorithm>
#include <array>

#include "text/jinja_function.h"
#include "text/jinja_parser.h"
#include "text/jinja_parser_depth.h"

namespace lamina::text::jinja {

void Parser::grow(Expression& node, const ExpressionPtr& operand) const {
  if (operand == nullptr) return;
  node.depth = std::max(node.depth, operand->depth + 1);
  if (node.depth > kMaxSyntaxDepth) {
    throw Failure{core::ErrorCode::kLimit, fmt::format("an expression of more than {} levels", kMaxSyntaxDepth),
                  now().line};
  }
}

void Parser::grow(Expression& node, const ArgumentList& arguments) const {
  for (const auto& item : arguments.positional) grow(node, item);
  for (const auto& [name, item] : arguments.named) grow(node, item);
  grow(node, arguments.star);
  grow(node, arguments.star_star);
}

ExpressionPtr Parser::binary(std::string sign, ExpressionPtr left, ExpressionPtr right, int line) const {
  auto node = std::make_unique<Binary>();
  node->line = line;
  node->sign = std::move(sign);
  node->left = std::move(left);
  node->right = std::move(right);
  grow(*node, node->left);
  grow(*node, node->right);
  return node;
}

ExpressionPtr Parser::parse_tuple(bool with_condition, bool parenthesized, std::string_view end_name) {
  const int line = now().line;
  Expressions items;
  bool is_tuple = false;
  while (true) {
    const TokenKind kind = now().kind;
    if (kind == TokenKind::kVariableEnd || kind == TokenKind::kBlockEnd || now().is_operator(")")) break;
    if (!end_name.empty() && now().is_name(end_name)) break;
    items.push_back(with_condition ? parse_conditional() : parse_or());
    if (!skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !parenthesized) fail(fmt::format("expected an expression, got '{}'", now().describe()));
  auto node = std::make_unique<ListLiteral>();
  node->line = line;
  node->tuple = true;
  node->items = std::move(items);
  for (const auto& item : node->items) grow(*node, item);
  return node;
}

ExpressionPtr Parser::parse_conditional() {
  const Deeper deeper(depth_, now().line);
  const int line = now().line;
  const size_t unknown = unknown_.size();
  ExpressionPtr left = parse_or();
  while (skip_name("if")) {
    auto node = std::make_unique<Conditional>();
    node->line = line;
    node->yes = std::move(left);
    node->condition = parse_or();
    if (skip_name("else")) node->no = parse_conditional();
    grow(*node, node->yes);
    grow(*node, node->condition);
    grow(*node, node->no);
    left = std::move(node);
    unknown_.resize(unknown);
  }
  return left;
}

ExpressionPtr Parser::parse_or() {
  const int line = now().line;
  ExpressionPtr left = parse_and();
  while (skip_name("or")) {
    auto node = std::make_unique<Logical>();
    node->line = line;
    node->is_and = false;
    node->left = std::move(left);
    node->right = parse_and();
    grow(*node, node->left);
    grow(*node, node->right);
    left = std::move(node);
  }
  return left;
}

ExpressionPtr Parser::parse_and() {
  const int line = now().line;
  ExpressionPtr left = parse_not();
  while (skip_name("and")) {
    auto node = std::make_unique<Logical>();
    node->line = line;
    node->left = std::move(left);
    node->right = parse_not();
    grow(*node, node->left);
    grow(*node, node->right);
    left = std::move(node);
  }
  return left;
}

ExpressionPtr Parser::parse_not() {
  if (!now().is_name("not")) return parse_comparison();
  const Deeper deeper(depth_, now().line);
  auto node = std::make_unique<Unary>();
  node->line = next().line;
  node->kind = UnaryKind::kNot;
  node->operand = parse_not();
  grow(*node, node->operand);
  return node;
}

ExpressionPtr Parser::parse_comparison() {
  static constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<", "<=", ">", ">="};
  auto node = std::make_unique<Comparison>();
  node->line = now().line;
  node->first = parse_sum();
  grow(*node, node->first);
  while (true) {
    std::string sign;
    if (now().kind == TokenKind::kOperator && std::find(kSigns.begin(), kSigns.end(), now().text) != kSigns.end()) {
      sign = next().text;
    } else if (skip_name("in")) {
      sign = "in";
    } else if (now().is_name("not") && ahead().is_name("in")) {
      next();
      next();
      sign = "not in";
    } else {
      break;
    }
    node->rest.emplace_back(std::move(sign), parse_sum());
    grow(*node, node->rest.back().second);
  }
  if (node->rest.empty()) return std::move(node->first);
  return node;
}

ExpressionPtr Parser::parse_sum() {
  const int line = now().line;
  ExpressionPtr left = parse_concat();
  while (now().is_operator("+") || now().is_operator("-")) {
    std::string sign = next().text;
    ExpressionPtr right = parse_concat();
    left = binary(std::move(sign), std::move(left), std::move(right), line);
  }
  return left;
}

ExpressionPtr Parser::parse_concat() {
  const int line = now().line;
  ExpressionPtr first = parse_product();
  if (!now().is_operator("~")) return first;
  auto node = std::make_unique<Concat>();
  node->line = line;
  node->parts.push_back(std::move(first));
  while (skip_operator("~")) node->parts.push_back(parse_product());
  for (const auto& part : node->parts) grow(*node, part);
  return node;
}

ExpressionPtr Parser::parse_product() {
  const int line = now().line;
  ExpressionPtr left = parse_power();
  while (now().is_operator("*") || now().is_operator("/") || now().is_operator("//") || now().is_operator("%")) {
    std::string sign = next().text;
    ExpressionPtr right = parse_power();
    left = binary(std::move(sign), std::move(left), std::move(right), line);
  }
  return left;
}

ExpressionPtr Parser::parse_power() {
  const int line = now().line;
  ExpressionPtr left = parse_unary(true);
  while (skip_operator("**")) {
    ExpressionPtr right = parse_unary(true);
    left = binary("**", std::move(left), std::move(right), line);
  }
  return left;
}

ExpressionPtr Parser::parse_unary(bool with_filters) {
  const Deeper deeper(depth_, now().line);
  ExpressionPtr node;
  if (now().is_operator("-") || now().is_operator("+")) {
    auto unary = std::make_unique<Unary>();
    unary->line = now().line;
    unary->kind = next().text == "-" ? UnaryKind::kMinus : UnaryKind::kPlus;
    unary->operand = parse_unary(false);
    grow(*unary, unary->operand);
    node = std::move(unary);
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filters ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

ExpressionPtr Parser::parse_primary() {
  const Token& token = now();
  switch (token.kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kReal:
      return parse_literal();
    default:
      break;
  }
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_dict();
  if (!token.is_operator("(")) fail(fmt::format("unexpected '{}'", token.describe()));
  next();
  ExpressionPtr node = parse_tuple(true, true);
  expect_operator(")");
  return node;
}

ExpressionPtr Parser::parse_name() {
  const Token& token = next();
  auto constant = std::make_unique<Constant>();
  constant->line = token.line;
  if (token.text == "none" || token.text == "None") return constant;
  if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
    constant->value = Value(token.text == "true" || token.text == "True");
    return constant;
  }
  if (!uses_.empty()) {
    uses_.back().caller |= token.text == "caller";
    uses_.back().varargs |= token.text == "varargs";
    uses_.back().kwargs |= token.text == "kwargs";
  }
  auto node = std::make_unique<Name>();
  node->line = token.line;
  node->name = token.text;
  return node;
}

ExpressionPtr Parser::parse_literal() {
  auto node = std::make_unique<Constant>();
  node->line = now().line;
  if (now().kind == TokenKind::kInteger) {
    node->value = Value(next().integer);
  } else if (now().kind == TokenKind::kReal) {
    node->value = Value(next().real);
  } else {
    std::string text;
    while (now().kind == TokenKind::kString) text += next().text;
    node->value = Value::text(std::move(text));
  }
  return node;
}

ExpressionPtr Parser::parse_list() {
  auto node = std::make_unique<ListLiteral>();
  node->line = next().line;
  while (!now().is_operator("]")) {
    if (!node->items.empty()) expect_operator(",");
    if (now().is_operator("]")) break;
    node->items.push_back(parse_expression());
    grow(*node, node->items.back());
  }
  expect_operator("]");
  return node;
}

ExpressionPtr Parser::parse_dict() {
  auto node = std::make_unique<DictLiteral>();
  node->line = next().line;
  while (!now().is_operator("}")) {
    if (!node->entries.empty()) expect_operator(",");
    if (now().is_operator("}")) break;
    ExpressionPtr key = parse_expression();
    expect_operator(":");
    ExpressionPtr value = parse_expression();
    grow(*node, key);
    grow(*node, value);
    node->entries.emplace_back(std::move(key), std::move(value));
  }
  expect_operator("}");
  return node;
}

ExpressionPtr Parser::parse_postfix(ExpressionPtr node) {
  while (true) {
    if (now().is_operator(".") || now().is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (now().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr node) {
  while (true) {
    if (skip_operator("|")) {
      node = parse_filter(std::move(node));
    } else if (now().is_name("is")) {
      node = parse_test(std::move(node));
    } else if (now().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr node) {
  const int line = now().line;
  if (skip_operator(".") && now().kind == TokenKind::kName) {
    auto attribute = std::make_unique<Attribute>();
    attribute->line = line;
    attribute->name = next().text;
    attribute->object = std::move(node);
    grow(*attribute, attribute->object);
    return attribute;
  }
  auto item = std::make_unique<Item>();
  item->line = line;
  if (now().kind == TokenKind::kInteger) {
    item->key = parse_literal();
  } else {
    if (!skip_operator("[")) fail("expected name or number");
    ExpressionPtr start;
    if (!now().is_operator(":")) start = parse_tuple(true, false, "]");
    if (now().is_operator(":")) return parse_slice(std::move(node), std::move(start), line);
    item->key = std::move(start);
    expect_operator("]");
  }
  item->object = std::move(node);
  grow(*item, item->object);
  grow(*item, item->key);
  return item;
}

ExpressionPtr Parser::parse_slice(ExpressionPtr object, ExpressionPtr start, int line) {
  auto node = std::make_unique<Slice>();
  node->line = line;
  node->object = std::move(object);
  node->start = std::move(start);
  expect_operator(":");
  if (!now().is_operator(":") && !now().is_operator("]")) node->stop = parse_expression();
  if (skip_operator(":") && !now().is_operator("]")) node->step = parse_expression();
  expect_operator("]");
  grow(*node, node->object);
  grow(*node, node->start);
  grow(*node, node->stop);
  grow(*node, node->step);
  return node;
}

ArgumentList Parser::parse_arguments() {
  ArgumentList list;
  const int line = now().line;
  const auto check = [&](bool good) {
    if (!good) fail("invalid syntax for function call expression", line);
  };
  expect_operator("(");
  bool comma = false;
  while (!now().is_operator(")")) {
    if (comma) expect_operator(",");
    if (now().is_operator(")")) break;
    comma = true;
    if (skip_operator("*")) {
      check(list.star == nullptr && list.star_star == nullptr);
      list.star = parse_expression();
    } else if (skip_operator("**")) {
      check(list.star_star == nullptr);
      list.star_star = parse_expression();
    } else if (now().kind == TokenKind::kName && ahead().is_operator("=")) {
      check(list.star_star == nullptr);
      std::string name = next().text;
      next();
      list.named.emplace_back(std::move(name), parse_expression());
    } else {
      check(list.star == nullptr && list.star_star == nullptr && list.named.empty());
      list.positional.push_back(parse_expression());
    }
  }
  expect_operator(")");
  return list;
}

ExpressionPtr Parser::parse_call(ExpressionPtr node) {
  auto call = std::make_unique<Call>();
  call->line = now().line;
  call->callee = std::move(node);
  call->arguments = parse_arguments();
  grow(*call, call->callee);
  grow(*call, call->arguments);
  return call;
}

std::string Parser::parse_dotted_name() {
  std::string name = expect_identifier();
  while (skip_operator(".")) name += "." + expect_identifier();
  return name;
}

// A filter behind its "|".
ExpressionPtr Parser::parse_filter(ExpressionPtr node) {
  auto filter = std::make_unique<FilterCall>();
  filter->line = now().line;
  filter->input = std::move(node);
  filter->name = parse_dotted_name();
  if (find_filter(filter->name) == nullptr) check_known("filter", filter->name, filter->line);
  if (now().is_operator("(")) filter->arguments = parse_arguments();
  grow(*filter, filter->input);
  grow(*filter, filter->arguments);
  return filter;
}

ExpressionPtr Parser::parse_test(ExpressionPtr node) {
  auto test = std::make_unique<TestCall>();
  test->line = next().line;
  test->negated = skip_name("not");
  test->input = std::move(node);
  test->name = parse_dotted_name();
  if (find_test(test->name) == nullptr) check_known("test", test->name, test->line);
  const Token& token = now();
  const bool literal = token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
                       token.kind == TokenKind::kReal || token.is_operator("[") || token.is_operator("{");
  if (token.is_operator("(")) {
    test->arguments = parse_arguments();
  } else if (literal || (token.kind == TokenKind::kName && !now_in({"else", "or", "and"}))) {
    if (token.is_name("is")) fail("You cannot chain multiple tests with is");
    test->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  grow(*test, test->input);
  grow(*test, test->arguments);
  return test;
}

}  // namespace lamina::text::jinja

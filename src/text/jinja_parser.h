#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace lamina::text::jinja {

/// Recursive descent over the grammar of Jinja2. Raises a Failure with a line number.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  /// Parses a whole template.
  Body parse();

 private:
  using Names = std::initializer_list<std::string_view>;
  /// Which special names the innermost macro or call block reads.
  struct Uses {
    bool caller = false, varargs = false, kwargs = false;
  };
  /// A filter or test without its row.
  struct Unknown {
    std::string_view kind;
    std::string name;
    int line = 0;
  };
  class Deeper;

  // Tokens.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next();
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view sign);
  void expect_operator(std::string_view sign);
  void expect_name(std::string_view name);
  std::string expect_identifier();
  void expect_block_end();
  bool now_in(Names names) const;
  [[noreturn]] void fail(const std::string& message, int line = 0) const;

  // Statements.
  Body parse_until(Names ends, std::string_view tag);
  Body parse_block(Names ends, std::string_view tag);
  StatementPtr parse_statement();
  StatementPtr parse_if();
  StatementPtr parse_for();
  StatementPtr parse_set();
  StatementPtr parse_macro();
  StatementPtr parse_call_block();
  StatementPtr parse_filter_block();
  StatementPtr parse_with();
  StatementPtr parse_generation();
  StatementPtr parse_print();
  StatementPtr parse_jump();
  void parse_signature(Callable& callable);
  void parse_callable_body(Callable& callable, Names ends, std::string_view tag);
  Target parse_target(bool with_namespace, bool until_in);
  Target parse_target_part(bool with_namespace);
  ExpressionPtr parse_filters_of_block();

  // Remembers a filter or test that is not known; the whole template must parse before it is an error.
  void check_known(std::string_view kind, std::string_view name, int line);

  // Expressions, loosest first.
  ExpressionPtr parse_expression() { return parse_conditional(); }
  ExpressionPtr parse_tuple(bool with_condition, bool parenthesized, std::string_view end_name = {});
  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_literal();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr node);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr node);
  ExpressionPtr parse_subscript(ExpressionPtr node);
  ExpressionPtr parse_slice(ExpressionPtr object, ExpressionPtr start, int line);
  ExpressionPtr parse_call(ExpressionPtr node);
  ExpressionPtr parse_filter(ExpressionPtr node);
  ExpressionPtr parse_test(ExpressionPtr node);
  std::string parse_dotted_name();
  ArgumentList parse_arguments();

  // Raises a node's depth above that of an operand.
  void grow(Expression& node, const ExpressionPtr& operand) const;
  void grow(Expression& node, const ArgumentList& arguments) const;
  ExpressionPtr binary(std::string sign, ExpressionPtr left, ExpressionPtr right, int line) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  bool may_be_unknown_ = false;   ///< inside an if: a name that is not known is an error only when it is reached
  std::vector<Unknown> unknown_;  ///< filters and tests that nobody knows
  std::vector<Uses> uses_;
};

}  // namespace lamina::text::jinja

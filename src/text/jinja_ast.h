#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace lamina::text::jinja {

class Evaluator;

/// What a statement leaves behind for the loop around it.
enum class Flow : uint8_t { kNext, kBreak, kContinue };

/// An expression. Trees are immutable once parsed and may be evaluated by many threads.
struct Expression {
  int line = 0;
  int depth = 1;  ///< 1 + the deepest operand; bounded by kMaxSyntaxDepth
  virtual ~Expression() = default;
  virtual Value eval(Evaluator& ev) const = 0;
};
using ExpressionPtr = std::unique_ptr<Expression>;
using Expressions = std::vector<ExpressionPtr>;

/// A statement, or literal text.
struct Statement {
  int line = 0;
  virtual ~Statement() = default;
  virtual Flow run(Evaluator& ev) const = 0;
};
using StatementPtr = std::unique_ptr<Statement>;
using Body = std::vector<StatementPtr>;

/// The arguments of a call, a filter or a test, not yet evaluated.
struct ArgumentList {
  Expressions positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star;       ///< *arguments, or null
  ExpressionPtr star_star;  ///< **arguments, or null
};

struct Constant : Expression {
  Value value;
  Value eval(Evaluator& ev) const override;
};

struct Name : Expression {
  std::string name;
  Value eval(Evaluator& ev) const override;
};

struct ListLiteral : Expression {
  Expressions items;
  bool tuple = false;
  Value eval(Evaluator& ev) const override;
};

struct DictLiteral : Expression {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
  Value eval(Evaluator& ev) const override;
};

struct Attribute : Expression {
  ExpressionPtr object;
  std::string name;
  Value eval(Evaluator& ev) const override;
};

struct Item : Expression {
  ExpressionPtr object;
  ExpressionPtr key;
  Value eval(Evaluator& ev) const override;
};

struct Slice : Expression {
  ExpressionPtr object;
  ExpressionPtr start, stop, step;  ///< each may be null
  Value eval(Evaluator& ev) const override;
};

struct Call : Expression {
  ExpressionPtr callee;
  ArgumentList arguments;
  Value eval(Evaluator& ev) const override;
};

struct FilterCall : Expression {
  ExpressionPtr input;  ///< null in filter blocks and filtered block sets: the input comes from outside
  std::string name;
  ArgumentList arguments;
  Value eval(Evaluator& ev) const override;
  Value apply(Evaluator& ev, Value value) const;
};

struct TestCall : Expression {
  ExpressionPtr input;
  std::string name;
  ArgumentList arguments;
  bool negated = false;
  Value eval(Evaluator& ev) const override;
};

enum class UnaryKind : uint8_t { kNot, kMinus, kPlus };

struct Unary : Expression {
  UnaryKind kind = UnaryKind::kNot;
  ExpressionPtr operand;
  Value eval(Evaluator& ev) const override;
};

/// `and` and `or`, which give one of their operands.
struct Logical : Expression {
  bool is_and = true;
  ExpressionPtr left, right;
  Value eval(Evaluator& ev) const override;
};

struct Binary : Expression {
  std::string sign;
  ExpressionPtr left, right;
  Value eval(Evaluator& ev) const override;
};

/// a ~ b ~ c.
struct Concat : Expression {
  Expressions parts;
  Value eval(Evaluator& ev) const override;
};

/// A chain a < b == c, in which each operand is evaluated at most once.
struct Comparison : Expression {
  ExpressionPtr first;
  std::vector<std::pair<std::string, ExpressionPtr>> rest;
  Value eval(Evaluator& ev) const override;
};

struct Conditional : Expression {
  ExpressionPtr condition, yes, no;  ///< `no` may be null
  Value eval(Evaluator& ev) const override;
};

/// What an assignment writes to: a name, namespace.attribute, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;      ///< empty: the name itself
  std::vector<Target> parts;  ///< tuple targets
  bool tuple = false;
  int line = 0;
};

struct Data : Statement {
  std::string text;
  Flow run(Evaluator& ev) const override;
};

struct Print : Statement {
  ExpressionPtr value;
  Flow run(Evaluator& ev) const override;
};

struct If : Statement {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
  Flow run(Evaluator& ev) const override;
};

struct For : Statement {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr filter;  ///< may be null
  Body body;
  Body otherwise;
  bool recursive = false;
  Flow run(Evaluator& ev) const override;
  /// Runs over `items`, at recursion depth `depth`. Only its else block can jump further out.
  Flow loop(Evaluator& ev, const Value& items, int depth) const;

 private:
  std::vector<Value> select(Evaluator& ev, const Value& items) const;
};

struct Set : Statement {
  Target target;
  ExpressionPtr value;
  Flow run(Evaluator& ev) const override;
};

struct SetBlock : Statement {
  Target target;
  ExpressionPtr filters;  ///< chain of FilterCall whose innermost input is null; may be null
  Body body;
  Flow run(Evaluator& ev) const override;
};

struct FilterBlock : Statement {
  ExpressionPtr filters;
  Body body;
  Flow run(Evaluator& ev) const override;
};

/// Parameters and body of a macro or of a call block.
struct Callable {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  ///< of the last parameters
  Body body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  int line = 0;
};

struct MacroDefinition : Statement {
  Callable callable;
  Flow run(Evaluator& ev) const override;
};

struct CallBlock : Statement {
  Callable callable;
  ExpressionPtr call;  ///< a Call
  Flow run(Evaluator& ev) const override;
};

/// {% with %} and {% generation %}: a scope of its own.
struct Scoped : Statement {
  std::vector<std::pair<Target, ExpressionPtr>> bindings;
  Body body;
  Flow run(Evaluator& ev) const override;
};

struct Jump : Statement {
  Flow flow = Flow::kBreak;
  Flow run(Evaluator& ev) const override;
};

}  // namespace lamina::text::jinja

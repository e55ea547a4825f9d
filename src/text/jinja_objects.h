#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_eval.h"
#include "text/jinja_function.h"

namespace lamina::text::jinja {

/// A method with its object, or a global function.
class Bound : public Object {
 public:
  Bound(const Function& function, Value self) : function_(function), self_(std::move(self)) {}
  std::string type_name() const override { return self_.is_none() ? "function" : "builtin_function_or_method"; }
  std::string describe() const override { return "<function " + std::string(function_.name) + ">"; }
  int depth() const override { return self_.depth() + 1; }
  bool callable() const override { return true; }
  Value call(Evaluator& ev, Arguments& arguments) override {
    return invoke(ev, function_, self_, std::move(arguments));
  }
  std::optional<Value> attribute(Evaluator& ev, std::string_view name) override;

 private:
  const Function& function_;
  Value self_;
};

/// namespace(): the one thing whose attributes a template can set.
class Namespace : public Object {
 public:
  std::string type_name() const override { return "TemplateNamespace"; }
  const Dict* shown() const override { return &values_; }
  std::optional<Value> attribute(Evaluator& ev, std::string_view name) override;
  /// Raises for names that start with an underscore.
  void set(std::string_view name, Value value);
  void clear() override {
    values_.entries.clear();
    values_.index.clear();
  }

 private:
  Dict values_;
};

/// A macro, or the body of a call block as `caller`.
class Macro : public Object {
 public:
  Macro(const Callable& callable, std::shared_ptr<Scope> scope) : callable_(callable), scope_(std::move(scope)) {}
  std::string type_name() const override { return "Macro"; }
  std::string describe() const override { return "<Macro '" + callable_.name + "'>"; }
  std::optional<Value> attribute(Evaluator& ev, std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Evaluator& ev, Arguments& arguments) override;
  void clear() override { scope_.reset(); }

 private:
  void bind(Evaluator& ev, Arguments& arguments) const;

  const Callable& callable_;
  std::shared_ptr<Scope> scope_;
};

/// The `loop` of a for statement.
class Loop : public Object {
 public:
  Loop(const For& statement, std::shared_ptr<Scope> scope, const std::vector<Value>& items, int depth)
      : statement_(statement), scope_(std::move(scope)), items_(&items), length_(items.size()), depth_(depth) {}
  std::string type_name() const override { return "LoopContext"; }
  std::string describe() const override;
  std::optional<Value> attribute(Evaluator& ev, std::string_view name) override;
  bool callable() const override { return true; }
  /// Runs the loop again over other items; the statement must be recursive.
  Value call(Evaluator& ev, Arguments& arguments) override;
  void clear() override;

  void set_index(size_t index) { index_ = index; }
  /// loop.cycle() and loop.changed().
  Value cycle(const std::vector<Value>& values) const;
  bool changed(const std::vector<Value>& values);

 private:
  const For& statement_;
  std::shared_ptr<Scope> scope_;
  const std::vector<Value>* items_;
  size_t length_;
  int depth_;
  size_t index_ = 0;
  std::optional<std::vector<Value>> last_changed_;
};

/// cycler(a, b, ...).
class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(Evaluator& ev, std::string_view name) override;
  void clear() override { items_.clear(); }
  Value next();
  void reset() { position_ = 0; }

 private:
  std::vector<Value> items_;
  size_t position_ = 0;
};

/// joiner(separator): empty at its first call, the separator afterwards.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Evaluator& ev, Arguments& arguments) override;
  void clear() override { separator_ = Value(); }

 private:
  Value separator_;
  bool used_ = false;
};

/// A global function as a value.
Value global_value(const Function& function);

}  // namespace lamina::text::jinja

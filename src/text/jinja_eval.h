#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_limits.h"
#include "text/jinja_value.h"

namespace lamina::text::jinja {

/// Names of one block; a name not found here is looked up in the scope around it.
struct Scope {
  std::vector<std::pair<std::string_view, Value>> names;
  std::shared_ptr<Scope> parent;

  /// Inserts or replaces.
  void set(std::string_view name, Value value);
  const Value* find(std::string_view name) const;
};

/// Runs one rendering: names, output, and what may still be used. Raises Failure.
class Evaluator {
 public:
  Evaluator(const TemplateLimits& limits, std::optional<int64_t> now_unix);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  /// Renders `body` with `arguments` as global names, which must outlive the call.
  std::string render(const Body& body, const std::vector<std::pair<std::string, Value>>& arguments);

  Value eval(const Expression& expression);
  Flow run(const Body& body);
  /// Runs `action` with all output collected into the returned text.
  std::string capture(const std::function<void()>& action);
  void write(std::string_view text);

  /// New values; each is counted and checked against the limits.
  Value text(std::string bytes, bool safe = false);
  Value list(std::vector<Value> items, Flavour flavour = Flavour::kList);
  Value dict(std::shared_ptr<Dict> dict);
  /// Keeps an object that may be part of a cycle until the rendering ends.
  Value keep(std::shared_ptr<Object> object);
  /// Python's str().
  std::string print(const Value& value);

  /// The value of a name, or undefined.
  Value lookup(std::string_view name);
  void define(std::string_view name, Value value) {
    charge_names(scope_->names.size());
    scope_->set(name, std::move(value));
  }
  void assign(const Target& target, const Value& value);
  const std::shared_ptr<Scope>& scope() const { return scope_; }

  Value call(const Value& callee, Arguments& arguments);
  Arguments arguments(const ArgumentList& list);

  Meter& meter() { return meter_; }
  /// Spends steps for walking through `value`.
  void charge(const Value& value) { meter_.step(1 + value.weight() / 4); }
  /// Spends steps for looking through `count` names.
  void charge_names(size_t count) { meter_.step(static_cast<int64_t>(count / 16)); }
  int64_t text_limit() const { return meter_.limits().value_bytes; }
  std::optional<int64_t> now_unix() const { return now_unix_; }
  int line() const { return line_; }

 private:
  friend class ScopeGuard;
  class Depth;

  Meter meter_;
  std::optional<int64_t> now_unix_;
  std::shared_ptr<Scope> scope_;
  std::string* output_ = nullptr;
  int64_t output_limit_ = 0;
  int depth_ = 0;
  int line_ = 1;
  std::vector<std::shared_ptr<Object>> kept_;
};

/// Enters a new scope inside `parent` while it lives.
class ScopeGuard {
 public:
  ScopeGuard(Evaluator& ev, std::shared_ptr<Scope> parent) : ev_(ev), saved_(ev.scope_) {
    auto scope = std::make_shared<Scope>();
    scope->parent = std::move(parent);
    ev.scope_ = std::move(scope);
  }
  explicit ScopeGuard(Evaluator& ev) : ScopeGuard(ev, ev.scope_) {}
  ~ScopeGuard() { ev_.scope_ = std::move(saved_); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Evaluator& ev_;
  std::shared_ptr<Scope> saved_;
};

}  // namespace lamina::text::jinja

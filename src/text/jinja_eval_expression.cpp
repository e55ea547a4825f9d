#include "text/jinja_ast.h"
#include "text/jinja_eval.h"
#include "text/jinja_function.h"
#include "text/jinja_operators.h"

namespace lamina::text::jinja {

Value Constant::eval(Evaluator&) const {
  return value;
}

Value Name::eval(Evaluator& ev) const {
  return ev.lookup(name);
}

Value ListLiteral::eval(Evaluator& ev) const {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const auto& item : items) values.push_back(ev.eval(*item));
  return ev.list(std::move(values), tuple ? Flavour::kTuple : Flavour::kList);
}

Value DictLiteral::eval(Evaluator& ev) const {
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) {
    Value name = ev.eval(*key);
    dict->set(std::move(name), ev.eval(*value));
  }
  return ev.dict(std::move(dict));
}

Value Attribute::eval(Evaluator& ev) const {
  return get_attribute(ev, ev.eval(*object), name);
}

Value Item::eval(Evaluator& ev) const {
  const Value container = ev.eval(*object);
  return get_item(ev, container, ev.eval(*key));
}

Value Slice::eval(Evaluator& ev) const {
  const auto bound = [&](const ExpressionPtr& expression) { return expression ? ev.eval(*expression) : Value(); };
  const Value container = ev.eval(*object);
  const Value first = bound(start);
  const Value last = bound(stop);
  return get_slice(ev, container, first, last, bound(step));
}

Value Call::eval(Evaluator& ev) const {
  const Value function = ev.eval(*callee);
  Arguments values = ev.arguments(arguments);
  return ev.call(function, values);
}

Value FilterCall::eval(Evaluator& ev) const {
  return apply(ev, input ? ev.eval(*input) : Value());
}

Value FilterCall::apply(Evaluator& ev, Value value) const {
  return apply_filter(ev, name, std::move(value), ev.arguments(arguments));
}

Value TestCall::eval(Evaluator& ev) const {
  Value value = ev.eval(*input);
  return Value(apply_test(ev, name, std::move(value), ev.arguments(arguments)) != negated);
}

Value Unary::eval(Evaluator& ev) const {
  const Value value = ev.eval(*operand);
  if (kind == UnaryKind::kNot) return Value(!value.truthy());
  return sign_of(value, kind == UnaryKind::kMinus);
}

Value Logical::eval(Evaluator& ev) const {
  Value value = ev.eval(*left);
  return value.truthy() == is_and ? ev.eval(*right) : value;
}

Value Binary::eval(Evaluator& ev) const {
  const Value a = ev.eval(*left);
  return binary(ev, sign, a, ev.eval(*right));
}

Value Concat::eval(Evaluator& ev) const {
  std::vector<Value> values;
  for (const auto& part : parts) values.push_back(ev.eval(*part));
  return concatenate(ev, values);
}

Value Comparison::eval(Evaluator& ev) const {
  Value left = ev.eval(*first);
  for (const auto& [sign, operand] : rest) {
    Value right = ev.eval(*operand);
    if (!compare(ev, sign, left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Conditional::eval(Evaluator& ev) const {
  if (ev.eval(*condition).truthy()) return ev.eval(*yes);
  if (no != nullptr) return ev.eval(*no);
  return Value::undefined(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was defined.", line));
}

}  // namespace lamina::text::jinja

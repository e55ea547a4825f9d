#include "text/jinja_ast.h"
#include "text/jinja_eval.h"
#include "text/jinja_function.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"

namespace lamina::text::jinja {
namespace {

// Applies a chain of filters, innermost first, to what a block printed.
Value apply_chain(Evaluator& ev, const Expression& chain, Value value) {
  const auto& filter = static_cast<const FilterCall&>(chain);
  if (filter.input != nullptr) value = apply_chain(ev, *filter.input, std::move(value));
  return filter.apply(ev, std::move(value));
}

// What a block prints; `flow` tells whether it was left by break or continue.
std::string capture_body(Evaluator& ev, const Body& body, Flow& flow) {
  return ev.capture([&] {
    const ScopeGuard guard(ev);
    flow = ev.run(body);
  });
}

}  // namespace

Flow Data::run(Evaluator& ev) const {
  ev.write(text);
  return Flow::kNext;
}

Flow Print::run(Evaluator& ev) const {
  const Value printed = ev.eval(*value);
  if (printed.is_text()) {
    ev.write(printed.view());
  } else {
    ev.write(ev.print(printed));
  }
  return Flow::kNext;
}

Flow If::run(Evaluator& ev) const {
  for (const auto& [condition, body] : branches) {
    if (ev.eval(*condition).truthy()) return ev.run(body);
  }
  return ev.run(otherwise);
}

std::vector<Value> For::select(Evaluator& ev, const Value& items) const {
  std::vector<Value> all = iterate(ev, items);
  if (filter == nullptr) return all;
  std::vector<Value> kept;
  for (Value& item : all) {
    const ScopeGuard guard(ev);
    ev.assign(target, item);
    if (ev.eval(*filter).truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

Flow For::loop(Evaluator& ev, const Value& items, int depth) const {
  const std::vector<Value> selected = select(ev, items);
  const auto object = std::make_shared<Loop>(*this, ev.scope(), selected, depth);
  // The loop may have been kept by the template; it must not look at `selected` afterwards.
  struct Ended {
    Loop& loop;
    ~Ended() { loop.clear(); }
  } const ended{*object};
  // As in Jinja2, the else block runs unless the end of the body was reached once.
  bool completed = false;
  for (size_t i = 0; i < selected.size(); ++i) {
    const ScopeGuard guard(ev);
    object->set_index(i);
    ev.assign(target, selected[i]);
    ev.define("loop", Value(object));
    const Flow flow = ev.run(body);
    completed |= flow == Flow::kNext;
    if (flow == Flow::kBreak) break;
  }
  if (completed) return Flow::kNext;
  const ScopeGuard guard(ev);
  return ev.run(otherwise);
}

Flow For::run(Evaluator& ev) const {
  return loop(ev, ev.eval(*iterable), 0);
}

Flow Set::run(Evaluator& ev) const {
  ev.assign(target, ev.eval(*value));
  return Flow::kNext;
}

Flow SetBlock::run(Evaluator& ev) const {
  Flow flow = Flow::kNext;
  Value text = ev.text(capture_body(ev, body, flow));
  if (flow != Flow::kNext) return flow;
  if (filters != nullptr) text = apply_chain(ev, *filters, std::move(text));
  ev.assign(target, text);
  return Flow::kNext;
}

Flow FilterBlock::run(Evaluator& ev) const {
  Flow flow = Flow::kNext;
  Value input = ev.text(capture_body(ev, body, flow));
  if (flow != Flow::kNext) return flow;
  const Value text = apply_chain(ev, *filters, std::move(input));
  ev.write(ev.print(text));
  return Flow::kNext;
}

Flow MacroDefinition::run(Evaluator& ev) const {
  ev.define(callable.name, ev.keep(std::make_shared<Macro>(callable, ev.scope())));
  return Flow::kNext;
}

Flow CallBlock::run(Evaluator& ev) const {
  const auto& invoked = static_cast<const Call&>(*call);
  const Value function = ev.eval(*invoked.callee);
  Arguments arguments = ev.arguments(invoked.arguments);
  arguments.named.emplace_back("caller", ev.keep(std::make_shared<Macro>(callable, ev.scope())));
  ev.write(ev.print(ev.call(function, arguments)));
  return Flow::kNext;
}

Flow Scoped::run(Evaluator& ev) const {
  std::vector<Value> values;
  for (const auto& [target, expression] : bindings) values.push_back(ev.eval(*expression));
  const ScopeGuard guard(ev);
  for (size_t i = 0; i < bindings.size(); ++i) ev.assign(bindings[i].first, values[i]);
  return ev.run(body);
}

Flow Jump::run(Evaluator&) const {
  return flow;
}

}  // namespace lamina::text::jinja

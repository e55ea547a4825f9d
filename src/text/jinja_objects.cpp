#include "text/jinja_objects.h"

#include <algorithm>

#include "text/jinja_operators.h"

namespace lamina::text::jinja {
namespace {

Value number(size_t value) {
  return Value(static_cast<int64_t>(value));
}

Value loop_cycle(Invocation& call) {
  return dynamic_cast<Loop&>(call.self.object()).cycle(call.rest.positional);
}

Value loop_changed(Invocation& call) {
  return Value(dynamic_cast<Loop&>(call.self.object()).changed(call.rest.positional));
}

Value cycler_next(Invocation& call) {
  return dynamic_cast<Cycler&>(call.self.object()).next();
}

Value cycler_reset(Invocation& call) {
  dynamic_cast<Cycler&>(call.self.object()).reset();
  return Value();
}

Value dict_fromkeys(Invocation& call) {
  auto dict = std::make_shared<Dict>();
  for (Value& key : iterate(call.ev, call.at(0))) dict->set(std::move(key), call.value(1));
  return call.ev.dict(std::move(dict));
}

constexpr Function kLoopCycle{"cycle", "*", loop_cycle};
constexpr Function kLoopChanged{"changed", "*", loop_changed};
constexpr Function kCyclerNext{"next", "", cycler_next};
constexpr Function kCyclerReset{"reset", "", cycler_reset};
constexpr Function kFromKeys{"fromkeys", "iterable value?", dict_fromkeys};

}  // namespace

std::optional<Value> Bound::attribute(Evaluator&, std::string_view name) {
  if (name == "fromkeys" && function_.name == "dict") return global_value(kFromKeys);
  return std::nullopt;
}

std::optional<Value> Namespace::attribute(Evaluator&, std::string_view name) {
  if (const Value* value = values_.find(name)) return *value;
  return std::nullopt;
}

void Namespace::set(std::string_view name, Value value) {
  if (name.starts_with("_")) raise("a namespace cannot hold '{}': names with a leading underscore are refused", name);
  values_.set(Value::text(std::string(name)), std::move(value));
}

std::optional<Value> Macro::attribute(Evaluator& ev, std::string_view name) {
  if (name == "name") return ev.text(callable_.name);
  if (name == "caller") return Value(callable_.uses_caller);
  if (name == "catch_kwargs") return Value(callable_.uses_kwargs);
  if (name == "catch_varargs") return Value(callable_.uses_varargs);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const auto& parameter : callable_.parameters) names.push_back(ev.text(parameter));
  return ev.list(std::move(names), Flavour::kTuple);
}

// Defines the parameters in the current scope.
void Macro::bind(Evaluator& ev, Arguments& arguments) const {
  const size_t count = callable_.parameters.size();
  const size_t first_default = count - callable_.defaults.size();
  for (size_t i = 0; i < count; ++i) {
    const std::string& name = callable_.parameters[i];
    ev.charge_names(arguments.named.size());
    if (i < arguments.positional.size()) {
      ev.define(name, arguments.positional[i]);
    } else if (auto named = arguments.take(name)) {
      ev.define(name, std::move(*named));
    } else if (i >= first_default) {
      ev.define(name, ev.eval(*callable_.defaults[i - first_default]));
    } else {
      ev.define(name, Value::undefined(fmt::format("parameter '{}' was not provided", name)));
    }
  }
  const bool has_caller =
      std::find(callable_.parameters.begin(), callable_.parameters.end(), "caller") != callable_.parameters.end();
  if (callable_.uses_caller && !has_caller) {
    auto caller = arguments.take("caller");
    ev.define("caller", caller && !caller->is_none() ? *caller : Value::undefined("No caller defined"));
  }
  if (callable_.uses_kwargs) {
    auto dict = std::make_shared<Dict>();
    for (auto& [name, value] : arguments.named) dict->set(ev.text(name), std::move(value));
    ev.define("kwargs", ev.dict(std::move(dict)));
  } else if (!arguments.named.empty()) {
    raise("macro '{}' takes no keyword argument '{}'", callable_.name, arguments.named.front().first);
  }
  std::vector<Value> extra;
  for (size_t i = count; i < arguments.positional.size(); ++i) extra.push_back(std::move(arguments.positional[i]));
  if (callable_.uses_varargs) {
    ev.define("varargs", ev.list(std::move(extra), Flavour::kTuple));
  } else if (!extra.empty()) {
    raise("macro '{}' takes not more than {} argument(s)", callable_.name, count);
  }
}

Value Macro::call(Evaluator& ev, Arguments& arguments) {
  const ScopeGuard guard(ev, scope_);
  bind(ev, arguments);
  return ev.text(ev.capture([&] { ev.run(callable_.body); }));
}

std::string Loop::describe() const {
  return fmt::format("<LoopContext {}/{}>", index_ + 1, length_);
}

std::optional<Value> Loop::attribute(Evaluator&, std::string_view name) {
  if (name == "index") return number(index_ + 1);
  if (name == "index0") return number(index_);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(index_ + 1 == length_);
  if (name == "length") return number(length_);
  if (name == "revindex") return number(length_ - index_);
  if (name == "revindex0") return number(length_ - index_ - 1);
  if (name == "depth") return number(static_cast<size_t>(depth_) + 1);
  if (name == "depth0") return number(static_cast<size_t>(depth_));
  if (name == "cycle") return Value(std::make_shared<Bound>(kLoopCycle, Value(shared_from_this())));
  if (name == "changed") return Value(std::make_shared<Bound>(kLoopChanged, Value(shared_from_this())));
  if (name == "previtem") {
    if (items_ == nullptr || index_ == 0) return Value::undefined("there is no previous item");
    return (*items_)[index_ - 1];
  }
  if (name == "nextitem") {
    if (items_ == nullptr || index_ + 1 >= length_) return Value::undefined("there is no next item");
    return (*items_)[index_ + 1];
  }
  return std::nullopt;
}

Value Loop::call(Evaluator& ev, Arguments& arguments) {
  if (!statement_.recursive) raise("the loop must have the 'recursive' marker to be called recursively");
  if (arguments.positional.size() != 1 || !arguments.named.empty()) raise("loop() takes one argument");
  if (scope_ == nullptr) raise("loop() was called after the end of its loop");
  const auto scope = scope_;
  return ev.text(ev.capture([&] {
    const ScopeGuard guard(ev, scope);
    statement_.loop(ev, arguments.positional[0], depth_ + 1);
  }));
}

void Loop::clear() {
  items_ = nullptr;
  scope_.reset();
  last_changed_.reset();
}

Value Loop::cycle(const std::vector<Value>& values) const {
  if (values.empty()) raise("no items for cycling given");
  return values[index_ % values.size()];
}

bool Loop::changed(const std::vector<Value>& values) {
  if (scope_ == nullptr) raise("loop.changed() was called after the end of its loop");
  if (last_changed_ && std::equal(values.begin(), values.end(), last_changed_->begin(), last_changed_->end(), equal)) {
    return false;
  }
  last_changed_ = values;
  return true;
}

std::optional<Value> Cycler::attribute(Evaluator&, std::string_view name) {
  if (name == "current") return items_[position_];
  if (name == "next") return Value(std::make_shared<Bound>(kCyclerNext, Value(shared_from_this())));
  if (name == "reset") return Value(std::make_shared<Bound>(kCyclerReset, Value(shared_from_this())));
  return std::nullopt;
}

Value Cycler::next() {
  Value value = items_[position_];
  position_ = (position_ + 1) % items_.size();
  return value;
}

Value Joiner::call(Evaluator& ev, Arguments&) {
  if (!std::exchange(used_, true)) return ev.text("");
  return separator_;
}

Value global_value(const Function& function) {
  return Value(std::make_shared<Bound>(function, Value()));
}

}  // namespace lamina::text::jinja

#include "text/jinja_function.h"

namespace lamina::text::jinja {
namespace {

void bind(const Function& function, Arguments& arguments, Invocation& invocation) {
  std::string_view left = function.parameters;
  size_t used = 0;
  while (!left.empty()) {
    const size_t end = std::min(left.find(' '), left.size());
    std::string_view name = left.substr(0, end);
    left.remove_prefix(std::min(end + 1, left.size()));
    const bool optional = name.back() == '?';
    if (optional) name.remove_suffix(1);
    std::optional<Value> named = arguments.take(name);
    if (used < arguments.positional.size()) {
      if (named) raise("{}() got multiple values for argument '{}'", function.name, name);
      named = std::move(arguments.positional[used++]);
    }
    if (!named && !optional) raise("{}() misses its argument '{}'", function.name, name);
    invocation.slots.push_back(std::move(named));
  }
  if (used < arguments.positional.size()) {
    raise("{}() takes {} arguments but {} were given", function.name, used, arguments.positional.size());
  }
  if (!arguments.named.empty()) {
    raise("{}() got an unexpected keyword argument '{}'", function.name, arguments.named.front().first);
  }
}

}  // namespace

int64_t Invocation::integer(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  if (at(i).is_undefined()) raise("{}", at(i).undefined_message());
  if (!at(i).is_index()) raise("'{}' object cannot be interpreted as an integer", at(i).type_name());
  return at(i).integer();
}

std::string_view Invocation::text(size_t i, std::string_view fallback) const {
  if (!has(i)) return fallback;
  if (at(i).is_undefined()) raise("{}", at(i).undefined_message());
  if (!at(i).is_text()) raise("a str argument expected, not {}", at(i).type_name());
  return at(i).view();
}

Value invoke(Evaluator& ev, const Function& function, Value self, Arguments arguments) {
  Invocation invocation{ev, std::move(self), {}, {}};
  ev.meter().step();
  if (function.parameters == "*") {
    invocation.rest = std::move(arguments);
  } else {
    bind(function, arguments, invocation);
  }
  return function.apply(invocation);
}

Value apply_filter(Evaluator& ev, std::string_view name, Value self, Arguments arguments) {
  const Function* function = find_filter(name);
  if (function == nullptr) raise("no filter named '{}'", name);
  return invoke(ev, *function, std::move(self), std::move(arguments));
}

bool apply_test(Evaluator& ev, std::string_view name, Value self, Arguments arguments) {
  const Function* function = find_test(name);
  if (function == nullptr) raise("no test named '{}'", name);
  return invoke(ev, *function, std::move(self), std::move(arguments)).truthy();
}

}  // namespace lamina::text::jinja

#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja_eval.h"
#include "text/jinja_value.h"

namespace lamina::text::jinja {

/// One call of a filter, test, method or global function, with its arguments in the order of its parameters.
struct Invocation {
  Evaluator& ev;
  Value self;                               ///< what is filtered, tested, or the method's object
  std::vector<std::optional<Value>> slots;  ///< one per parameter
  Arguments rest;                           ///< all arguments, where the parameters are "*"

  bool has(size_t i) const { return i < slots.size() && slots[i].has_value(); }
  const Value& at(size_t i) const { return *slots[i]; }
  /// The argument, or `fallback` if it was not given.
  Value value(size_t i, const Value& fallback = Value()) const { return has(i) ? at(i) : fallback; }
  /// True if the argument was given and is not none.
  bool given(size_t i) const { return has(i) && !at(i).is_none(); }
  bool flag(size_t i, bool fallback = false) const { return has(i) ? at(i).truthy() : fallback; }
  /// A flag of one of Python's own functions: an integer, where Jinja2's take any value.
  bool strict_flag(size_t i) const { return integer(i) != 0; }
  /// An integer argument; raises for other types.
  int64_t integer(size_t i, int64_t fallback = 0) const;
  /// A string argument; raises for other types.
  std::string_view text(size_t i, std::string_view fallback = {}) const;
  /// `self` printed, unless it is a string already.
  std::string self_text() const { return ev.print(self); }
};

/// A row of the tables of filters, tests, methods and global functions.
struct Function {
  std::string_view name;
  /// Names of the parameters with blanks between; "?" marks optional ones; "*" alone takes anything.
  std::string_view parameters;
  Value (*apply)(Invocation&);
};

/// Puts `arguments` in the order of the parameters and calls. Raises if they do not fit.
Value invoke(Evaluator& ev, const Function& function, Value self, Arguments arguments);

/// Tables: the function of that name, or null.
const Function* find_filter(std::string_view name);
const Function* find_test(std::string_view name);
const Function* find_global(std::string_view name);
const Function* find_text_method(std::string_view name);
/// The method `name` of a value that is not an object, or null.
const Function* find_method(const Value& self, std::string_view name);
/// True if the type has a method of that name which would change the value.
bool is_forbidden_method(const Value& self, std::string_view name);

/// Applies the filter or test of that name. Raises if there is none.
Value apply_filter(Evaluator& ev, std::string_view name, Value self, Arguments arguments);
bool apply_test(Evaluator& ev, std::string_view name, Value self, Arguments arguments);

}  // namespace lamina::text::jinja

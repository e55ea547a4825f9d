#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja_eval.h"
#include "text/jinja_value.h"

namespace lamina::text::jinja {

/// a + b, a - b, a * b, a / b, a // b, a % b, a ** b as in Python; raises for types that do not fit and past 64 bits.
Value binary(Evaluator& ev, std::string_view sign, const Value& a, const Value& b);
/// ==, !=, <, <=, >, >=, in, not in.
bool compare(Evaluator& ev, std::string_view sign, const Value& a, const Value& b);
/// Python's `item in container`.
bool contains(Evaluator& ev, const Value& item, const Value& container);
/// -a or +a.
Value sign_of(const Value& value, bool minus);
/// a ~ b ~ c: printed values one after the other.
Value concatenate(Evaluator& ev, const std::vector<Value>& parts);

/// object.name: an attribute or method, else an item, else undefined.
Value get_attribute(Evaluator& ev, const Value& object, std::string_view name);
/// object[key]: an item, else an attribute, else undefined.
Value get_item(Evaluator& ev, const Value& object, const Value& key);
/// object[start:stop:step]; absent bounds are none.
Value get_slice(Evaluator& ev, const Value& object, const Value& start, const Value& stop, const Value& step);

/// The items that a loop over the value sees; empties iterators. Raises for what cannot be iterated.
std::vector<Value> iterate(Evaluator& ev, const Value& value);
bool is_iterable(const Value& value);
/// Python's len(), or nothing where it would raise.
std::optional<int64_t> length(const Value& value);
/// The code point at `index` of a string as a string.
Value point_at(Evaluator& ev, const Text& text, size_t index);
/// str.replace(): all, or the first `count` if that is not negative.
std::string replace_text(Evaluator& ev, std::string_view text, std::string_view old, std::string_view fresh,
                         int64_t count);
/// HTML-escapes & < > ' and ".
std::string escape_html(std::string_view text, int64_t limit);

}  // namespace lamina::text::jinja

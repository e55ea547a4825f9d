#include "text/jinja_operators.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja_format.h"
#include "text/jinja_function.h"
#include "text/jinja_objects.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

[[noreturn]] void overflow() {
  raise_limit("an integer exceeds 64 bits");
}

[[noreturn]] void bad_operands(std::string_view sign, const Value& a, const Value& b) {
  raise("unsupported operand types for {}: '{}' and '{}'", sign, a.type_name(), b.type_name());
}

bool both_integers(const Value& a, const Value& b) {
  return a.is_index() && b.is_index();
}

void check_numbers(std::string_view sign, const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) bad_operands(sign, a, b);
}

Value join_sequences(Evaluator& ev, const Value& a, const Value& b) {
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return ev.list(std::move(items), a.sequence().flavour);
}

// The text of `part` inside an HTML-safe result.
std::string safe_part(Evaluator& ev, const Value& part) {
  return part.is_safe() ? std::string(part.view()) : escape_html(ev.print(part), ev.text_limit());
}

Value add(Evaluator& ev, const Value& a, const Value& b) {
  if (a.is_text() && b.is_text()) {
    const bool safe = a.is_safe() || b.is_safe();
    if (safe) return ev.text(safe_part(ev, a) + safe_part(ev, b), true);
    std::string text;
    text.reserve(a.view().size() + b.view().size());
    text.append(a.view()).append(b.view());
    return ev.text(std::move(text));
  }
  if (a.is_list_or_tuple() && b.is_list_or_tuple() && a.sequence().flavour == b.sequence().flavour) {
    return join_sequences(ev, a, b);
  }
  check_numbers("+", a, b);
  if (!both_integers(a, b)) return Value(a.real() + b.real());
  int64_t result = 0;
  if (__builtin_add_overflow(a.integer(), b.integer(), &result)) overflow();
  return Value(result);
}

Value subtract(Evaluator&, const Value& a, const Value& b) {
  check_numbers("-", a, b);
  if (!both_integers(a, b)) return Value(a.real() - b.real());
  int64_t result = 0;
  if (__builtin_sub_overflow(a.integer(), b.integer(), &result)) overflow();
  return Value(result);
}

Value repeat(Evaluator& ev, const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (value.is_text()) {
    BoundedText out(ev.text_limit());
    out.repeat(value.view(), count);
    return ev.text(out.take(), value.is_safe());
  }
  const auto size = static_cast<int64_t>(value.items().size());
  if (size != 0 && count > ev.meter().limits().value_items / size) {
    raise_limit("a list of more than {} items", ev.meter().limits().value_items);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(size * count));
  for (int64_t i = 0; i < count && size != 0; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return ev.list(std::move(items), value.sequence().flavour);
}

bool is_repeatable(const Value& value) {
  return value.is_text() || value.is_list_or_tuple();
}

Value multiply(Evaluator& ev, const Value& a, const Value& b) {
  if (is_repeatable(a) && b.is_index()) return repeat(ev, a, b.integer());
  if (is_repeatable(b) && a.is_index()) return repeat(ev, b, a.integer());
  check_numbers("*", a, b);
  if (!both_integers(a, b)) return Value(a.real() * b.real());
  int64_t result = 0;
  if (__builtin_mul_overflow(a.integer(), b.integer(), &result)) overflow();
  return Value(result);
}

void check_divisor(const Value& b) {
  if (b.real() == 0.0) raise("division by zero");
}

Value divide(Evaluator&, const Value& a, const Value& b) {
  check_numbers("/", a, b);
  check_divisor(b);
  return Value(a.real() / b.real());
}

// Python's float modulo: the sign of the divisor.
double real_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0.0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0.0 ? std::copysign(0.0, b) : rest;
}

Value floor_divide(Evaluator&, const Value& a, const Value& b) {
  check_numbers("//", a, b);
  check_divisor(b);
  if (!both_integers(a, b)) {
    const double rest = real_modulo(a.real(), b.real());
    const double quotient = (a.real() - rest) / b.real();
    if (quotient == 0.0) return Value(std::copysign(0.0, a.real() / b.real()));
    const double down = std::floor(quotient);
    return Value(quotient - down > 0.5 ? down + 1.0 : down);
  }
  const int64_t x = a.integer(), y = b.integer();
  if (y == -1) {
    if (x == INT64_MIN) overflow();
    return Value(-x);
  }
  return Value(x / y - ((x % y != 0 && (x < 0) != (y < 0)) ? 1 : 0));
}

Value modulo(Evaluator& ev, const Value& a, const Value& b) {
  if (a.is_text()) return format_percent(ev, a, b);
  check_numbers("%", a, b);
  check_divisor(b);
  if (!both_integers(a, b)) return Value(real_modulo(a.real(), b.real()));
  const int64_t x = a.integer(), y = b.integer();
  if (y == -1) return Value(int64_t{0});
  const int64_t rest = x % y;
  return Value(rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest);
}

Value power(Evaluator&, const Value& a, const Value& b) {
  check_numbers("**", a, b);
  if (!both_integers(a, b) || b.integer() < 0) {
    if (a.real() == 0.0 && b.real() < 0) raise("0.0 cannot be raised to a negative power");
    if (a.real() < 0 && std::floor(b.real()) != b.real()) raise("complex numbers are not available");
    const double result = std::pow(a.real(), b.real());
    if (std::isinf(result) && !std::isinf(a.real()) && !std::isinf(b.real())) raise("result of ** is too large");
    return Value(result);
  }
  int64_t result = 1, base = a.integer();
  for (int64_t exponent = b.integer(); exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return Value(result);
}

struct BinaryRow {
  std::string_view sign;
  Value (*apply)(Evaluator&, const Value&, const Value&);
};

constexpr std::array kBinary = {
    BinaryRow{"+", add},           BinaryRow{"-", subtract}, BinaryRow{"*", multiply}, BinaryRow{"/", divide},
    BinaryRow{"//", floor_divide}, BinaryRow{"%", modulo},   BinaryRow{"**", power},
};

// Index of an item counted from the end if negative; nothing if there is none.
std::optional<size_t> resolve_index(int64_t index, size_t size) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

std::optional<Value> subscript(Evaluator& ev, const Value& object, const Value& key) {
  if (object.is_dict()) {
    if (key.is_dict() || key.is(Flavour::kList)) return std::nullopt;
    const Value* found = object.dict().find(key);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  if (!key.is_index()) return std::nullopt;
  if (object.is_text()) {
    const auto index = resolve_index(key.integer(), object.text().length);
    if (index) return point_at(ev, object.text(), *index);
  } else if (object.is_list_or_tuple() || object.is(Flavour::kRange)) {
    const auto index = resolve_index(key.integer(), object.items().size());
    if (index) return object.items()[*index];
  }
  return std::nullopt;
}

Value unsafe(const Value& object, std::string_view name) {
  return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, object.type_name()));
}

// What Python's getattr() finds, apart from items.
std::optional<Value> attribute_only(Evaluator& ev, const Value& object, std::string_view name) {
  if (object.is_object()) {
    if (auto value = object.object().attribute(ev, name)) return value;
  } else if (const Function* function = find_method(object, name)) {
    if (object.depth() >= kMaxValueDepth) raise_limit("values nested deeper than {}", kMaxValueDepth);
    return Value(std::make_shared<Bound>(*function, object));
  }
  const bool internal = name.starts_with("__") && name.ends_with("__");
  if (internal || is_forbidden_method(object, name)) return unsafe(object, name);
  return std::nullopt;
}

// Clamps one bound of a slice as Python does.
int64_t slice_bound(const Value& bound, int64_t size, int64_t step, int64_t fallback) {
  if (bound.is_none()) return fallback;
  if (!bound.is_index()) raise("slice indices must be integers or None");
  int64_t index = bound.integer();
  if (index < 0) index += size;
  if (step > 0) return std::clamp<int64_t>(index, 0, size);
  return std::clamp<int64_t>(index, -1, size - 1);
}

Value slice_text(Evaluator& ev, const Text& text, const std::vector<size_t>& picks) {
  std::string out;
  if (text.ascii()) {
    for (const size_t i : picks) out += text.bytes[i];
    return ev.text(std::move(out), text.safe);
  }
  std::vector<size_t> starts;
  for (size_t at = 0; at < text.bytes.size(); next_point(text.bytes, at)) starts.push_back(at);
  starts.push_back(text.bytes.size());
  for (const size_t i : picks) out.append(text.bytes, starts[i], starts[i + 1] - starts[i]);
  return ev.text(std::move(out), text.safe);
}

}  // namespace

Value binary(Evaluator& ev, std::string_view sign, const Value& a, const Value& b) {
  if (a.is_undefined()) raise("{}", a.undefined_message());
  if (b.is_undefined() && !(sign == "%" && a.is_text())) raise("{}", b.undefined_message());
  for (const BinaryRow& row : kBinary) {
    if (row.sign == sign) return row.apply(ev, a, b);
  }
  raise("unknown operator {}", sign);
}

bool compare(Evaluator& ev, std::string_view sign, const Value& a, const Value& b) {
  ev.meter().step(std::min(a.weight(), b.weight()) / 4);
  if (sign == "==") return equal(a, b);
  if (sign == "!=") return !equal(a, b);
  if (sign == "<") return less(a, b, sign);
  if (sign == ">") return less(b, a, sign);
  if (sign == "in") return contains(ev, a, b);
  if (sign == "not in") return !contains(ev, a, b);
  const bool numbers = a.is_number() && b.is_number();
  if (numbers && (std::isnan(a.real()) || std::isnan(b.real()))) return false;
  return sign == "<=" ? !less(b, a, sign) : !less(a, b, sign);
}

bool contains(Evaluator& ev, const Value& item, const Value& container) {
  if (container.is_text()) {
    if (item.is_undefined()) raise("{}", item.undefined_message());
    if (!item.is_text()) raise("'in <string>' requires string as left operand, not {}", item.type_name());
    ev.meter().step(static_cast<int64_t>(container.view().size() / 32));
    return container.view().find(item.view()) != std::string_view::npos;
  }
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  for (const Value& other : iterate(ev, container)) {
    ev.meter().step(std::min(other.weight(), item.weight()) / 4);
    if (other.same(item) || equal(other, item)) return true;
  }
  return false;
}

Value sign_of(const Value& value, bool minus) {
  if (value.is_undefined()) raise("{}", value.undefined_message());
  if (!value.is_number()) raise("bad operand type for unary {}: '{}'", minus ? '-' : '+', value.type_name());
  if (value.is_real()) return Value(minus ? -value.real() : value.real());
  if (!minus) return Value(value.integer());
  if (value.integer() == INT64_MIN) overflow();
  return Value(-value.integer());
}

Value concatenate(Evaluator& ev, const std::vector<Value>& parts) {
  BoundedText out(ev.text_limit());
  for (const Value& part : parts) out.append(ev.print(part));
  return ev.text(out.take());
}

Value get_attribute(Evaluator& ev, const Value& object, std::string_view name) {
  if (object.is_undefined()) raise("{}", object.undefined_message());
  if (auto value = attribute_only(ev, object, name)) return *value;
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(name)) return *found;
  }
  return Value::undefined(missing_message(object, Value::text(std::string(name))));
}

Value get_item(Evaluator& ev, const Value& object, const Value& key) {
  if (object.is_undefined()) raise("{}", object.undefined_message());
  if (auto value = subscript(ev, object, key)) return *value;
  if (key.is_text()) {
    if (auto value = attribute_only(ev, object, key.view())) return *value;
  }
  return Value::undefined(missing_message(object, key));
}

Value get_slice(Evaluator& ev, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) raise("{}", object.undefined_message());
  const bool sliceable = object.is_text() || object.is_list_or_tuple() || object.is(Flavour::kRange);
  if (!sliceable) raise("'{}' object cannot be sliced", object.type_name());
  if (!step.is_none() && !step.is_index()) raise("slice indices must be integers or None");
  const int64_t stride = step.is_none() ? 1 : step.integer();
  if (stride == 0) raise("slice step cannot be zero");
  const auto size = static_cast<int64_t>(object.is_text() ? object.text().length : object.items().size());
  const int64_t begin = slice_bound(start, size, stride, stride > 0 ? 0 : size - 1);
  const int64_t end = slice_bound(stop, size, stride, stride > 0 ? size : -1);
  ev.meter().step(size / 32);
  if (object.is_text() && stride == 1 && object.text().ascii()) {
    return ev.text(std::string(object.view().substr(static_cast<size_t>(begin),
                                                    static_cast<size_t>(std::max<int64_t>(end - begin, 0)))),
                   object.is_safe());
  }
  std::vector<size_t> picks;
  for (int64_t i = begin; stride > 0 ? i < end : i > end;) {
    picks.push_back(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (object.is_text()) return slice_text(ev, object.text(), picks);
  std::vector<Value> items;
  for (const size_t i : picks) items.push_back(object.items()[i]);
  if (!object.is(Flavour::kRange)) return ev.list(std::move(items), object.sequence().flavour);
  Value range = ev.list(std::move(items), Flavour::kRange);
  const Sequence& whole = object.sequence();
  Sequence& part = range.sequence();
  if (__builtin_mul_overflow(begin, whole.step, &part.start) || __builtin_mul_overflow(end, whole.step, &part.stop) ||
      __builtin_add_overflow(part.start, whole.start, &part.start) ||
      __builtin_add_overflow(part.stop, whole.start, &part.stop) ||
      __builtin_mul_overflow(whole.step, stride, &part.step)) {
    overflow();
  }
  return range;
}

std::vector<Value> iterate(Evaluator& ev, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is_text()) {
    const std::string& bytes = value.text().bytes;
    if (static_cast<int64_t>(value.text().length) > ev.meter().limits().value_items) {
      raise_limit("a list of more than {} items", ev.meter().limits().value_items);
    }
    items.reserve(value.text().length);
    for (size_t at = 0; at < bytes.size();) {
      const size_t start = at;
      next_point(bytes, at);
      items.push_back(ev.text(bytes.substr(start, at - start)));
    }
  } else if (value.is_dict()) {
    for (const auto& [key, item] : value.dict().entries) items.push_back(key);
  } else if (value.is(Flavour::kIterator)) {
    Sequence& sequence = value.sequence();
    items.assign(sequence.items.begin() + static_cast<ptrdiff_t>(sequence.taken), sequence.items.end());
    sequence.taken = sequence.items.size();
  } else if (value.is_sequence()) {
    items = value.items();
  } else {
    raise("'{}' object is not iterable", value.type_name());
  }
  ev.meter().step(static_cast<int64_t>(items.size() / 4));
  return items;
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_dict() || value.is_sequence();
}

std::optional<int64_t> length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) return static_cast<int64_t>(value.text().length);
  if (value.is_dict()) return static_cast<int64_t>(value.dict().entries.size());
  if (value.is_sequence() && !value.is(Flavour::kIterator)) return static_cast<int64_t>(value.items().size());
  return std::nullopt;
}

Value point_at(Evaluator& ev, const Text& text, size_t index) {
  if (text.ascii()) return ev.text(std::string(1, text.bytes[index]), text.safe);
  ev.meter().step(static_cast<int64_t>(text.bytes.size() / 32));
  const size_t start = point_offset(text.bytes, index);
  size_t end = start;
  next_point(text.bytes, end);
  return ev.text(text.bytes.substr(start, end - start), text.safe);
}

std::string escape_html(std::string_view text, int64_t limit) {
  BoundedText out(limit);
  for (const char c : text) {
    if (c == '&') {
      out.append("&amp;");
    } else if (c == '<') {
      out.append("&lt;");
    } else if (c == '>') {
      out.append("&gt;");
    } else if (c == '"') {
      out.append("&#34;");
    } else if (c == '\'') {
      out.append("&#39;");
    } else {
      out.append(c);
    }
  }
  return out.take();
}

}  // namespace lamina::text::jinja

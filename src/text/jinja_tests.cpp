#include <algorithm>
#include <array>

#include "text/jinja_function.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

using Call = Invocation;

Value answer(bool yes) {
  return Value(yes);
}

template <bool upper>
bool all_cased(std::string_view text) {
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const int32_t point = next_point(text, at);
    if (upper ? is_lower(point) || is_title(point) : is_upper(point) || is_title(point)) return false;
    any |= upper ? is_upper(point) : is_lower(point);
  }
  return any;
}

Value remainder(Call& call, const Value& divisor) {
  return binary(call.ev, "%", call.self, divisor);
}

Value test_odd(Call& call) {
  return answer(equal(remainder(call, Value(int64_t{2})), Value(int64_t{1})));
}
Value test_even(Call& call) {
  return answer(equal(remainder(call, Value(int64_t{2})), Value(int64_t{0})));
}
Value test_divisible(Call& call) {
  return answer(equal(remainder(call, call.at(0)), Value(int64_t{0})));
}
Value test_defined(Call& call) {
  return answer(!call.self.is_undefined());
}
Value test_undefined(Call& call) {
  return answer(call.self.is_undefined());
}
Value test_none(Call& call) {
  return answer(call.self.is_none());
}
Value test_boolean(Call& call) {
  return answer(call.self.is_bool());
}
Value test_true(Call& call) {
  return answer(call.self.is_bool() && call.self.boolean());
}
Value test_false(Call& call) {
  return answer(call.self.is_bool() && !call.self.boolean());
}
Value test_integer(Call& call) {
  return answer(call.self.is_integer());
}
Value test_float(Call& call) {
  return answer(call.self.is_real());
}
Value test_number(Call& call) {
  return answer(call.self.is_number());
}
Value test_string(Call& call) {
  return answer(call.self.is_text());
}
Value test_mapping(Call& call) {
  return answer(call.self.is_dict());
}
Value test_iterable(Call& call) {
  return answer(is_iterable(call.self));
}
Value test_callable(Call& call) {
  return answer(call.self.is_undefined() || (call.self.is_object() && call.self.object().callable()));
}
Value test_escaped(Call& call) {
  return answer(call.self.is_safe());
}
Value test_sameas(Call& call) {
  return answer(call.self.same(call.at(0)));
}
Value test_in(Call& call) {
  return answer(contains(call.ev, call.self, call.at(0)));
}
Value test_lower(Call& call) {
  return answer(all_cased<false>(call.self_text()));
}
Value test_upper(Call& call) {
  return answer(all_cased<true>(call.self_text()));
}

Value test_sequence(Call& call) {
  const bool view = call.self.is(Flavour::kKeys) || call.self.is(Flavour::kValues) || call.self.is(Flavour::kItems);
  return answer(length(call.self).has_value() && !view);
}

// The name of a filter or test; a list or dictionary cannot be looked up.
std::string sought_name(Call& call) {
  if (!call.self.is_text()) hash_key(call.self);
  return call.self.is_text() ? std::string(call.self.view()) : std::string();
}
Value test_filter(Call& call) {
  return answer(find_filter(sought_name(call)) != nullptr);
}
Value test_test(Call& call) {
  return answer(find_test(sought_name(call)) != nullptr);
}

Value test_eq(Call& call) {
  return answer(compare(call.ev, "==", call.self, call.at(0)));
}
Value test_ne(Call& call) {
  return answer(compare(call.ev, "!=", call.self, call.at(0)));
}
Value test_lt(Call& call) {
  return answer(compare(call.ev, "<", call.self, call.at(0)));
}
Value test_le(Call& call) {
  return answer(compare(call.ev, "<=", call.self, call.at(0)));
}
Value test_gt(Call& call) {
  return answer(compare(call.ev, ">", call.self, call.at(0)));
}
Value test_ge(Call& call) {
  return answer(compare(call.ev, ">=", call.self, call.at(0)));
}

constexpr std::array kTests = {
    Function{"odd", "", test_odd},
    Function{"even", "", test_even},
    Function{"divisibleby", "num", test_divisible},
    Function{"defined", "", test_defined},
    Function{"undefined", "", test_undefined},
    Function{"filter", "", test_filter},
    Function{"test", "", test_test},
    Function{"none", "", test_none},
    Function{"boolean", "", test_boolean},
    Function{"false", "", test_false},
    Function{"true", "", test_true},
    Function{"integer", "", test_integer},
    Function{"float", "", test_float},
    Function{"lower", "", test_lower},
    Function{"upper", "", test_upper},
    Function{"string", "", test_string},
    Function{"mapping", "", test_mapping},
    Function{"number", "", test_number},
    Function{"sequence", "", test_sequence},
    Function{"iterable", "", test_iterable},
    Function{"callable", "", test_callable},
    Function{"sameas", "other", test_sameas},
    Function{"escaped", "", test_escaped},
    Function{"in", "seq", test_in},
    Function{"==", "other", test_eq},
    Function{"eq", "other", test_eq},
    Function{"equalto", "other", test_eq},
    Function{"!=", "other", test_ne},
    Function{"ne", "other", test_ne},
    Function{">", "other", test_gt},
    Function{"gt", "other", test_gt},
    Function{"greaterthan", "other", test_gt},
    Function{">=", "other", test_ge},
    Function{"ge", "other", test_ge},
    Function{"<", "other", test_lt},
    Function{"lt", "other", test_lt},
    Function{"lessthan", "other", test_lt},
    Function{"<=", "other", test_le},
    Function{"le", "other", test_le},
};

}  // namespace

const Function* find_test(std::string_view name) {
  const auto* row = std::find_if(kTests.begin(), kTests.end(), [&](const Function& f) { return f.name == name; });
  return row == kTests.end() ? nullptr : row;
}

}  // namespace lamina::text::jinja

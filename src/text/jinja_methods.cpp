#include <algorithm>
#include <array>

#include "text/jinja_function.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"

namespace lamina::text::jinja {
namespace {

using Call = Invocation;

Value pair_of(Evaluator& ev, const Value& key, const Value& value) {
  return ev.list({key, value}, Flavour::kTuple);
}

Value dict_keys(Call& call) {
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.dict().entries) items.push_back(key);
  return call.ev.list(std::move(items), Flavour::kKeys);
}

Value dict_values(Call& call) {
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.dict().entries) items.push_back(value);
  return call.ev.list(std::move(items), Flavour::kValues);
}

Value dict_items(Call& call) {
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.dict().entries) items.push_back(pair_of(call.ev, key, value));
  return call.ev.list(std::move(items), Flavour::kItems);
}

Value dict_get(Call& call) {
  const Value* found = call.self.dict().find(call.at(0));
  return found != nullptr ? *found : call.value(1);
}

Value dict_copy(Call& call) {
  auto copy = std::make_shared<Dict>();
  for (const auto& [key, value] : call.self.dict().entries) copy->set(key, value);
  return call.ev.dict(std::move(copy));
}

Value list_copy(Call& call) {
  return call.ev.list(call.self.items());
}

Value list_count(Call& call) {
  call.ev.charge(call.self);
  const auto count = std::count_if(call.self.items().begin(), call.self.items().end(),
                                   [&](const Value& item) { return item.same(call.at(0)) || equal(item, call.at(0)); });
  return Value(static_cast<int64_t>(count));
}

Value list_index(Call& call) {
  call.ev.charge(call.self);
  const auto& items = call.self.items();
  const auto size = static_cast<int64_t>(items.size());
  const auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
  for (int64_t i = clamp(call.integer(1, 0)); i < clamp(call.integer(2, size)); ++i) {
    if (equal(items[static_cast<size_t>(i)], call.at(0))) return Value(i);
  }
  raise("{} is not in {}", repr(call.at(0)), call.self.type_name());
}

constexpr std::array kDictMethods = {
    Function{"keys", "", dict_keys},           Function{"values", "", dict_values}, Function{"items", "", dict_items},
    Function{"get", "key default?", dict_get}, Function{"copy", "", dict_copy},
};

constexpr std::array kListMethods = {
    Function{"count", "value", list_count},
    Function{"index", "value start? stop?", list_index},
    Function{"copy", "", list_copy},
};

constexpr std::array<std::string_view, 8> kListForbidden = {"append", "clear", "pop",    "reverse",
                                                            "insert", "sort",  "extend", "remove"};
constexpr std::array<std::string_view, 5> kDictForbidden = {"clear", "pop", "popitem", "setdefault", "update"};

template <size_t size>
const Function* find_row(const std::array<Function, size>& rows, std::string_view name) {
  for (const Function& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace

const Function* find_method(const Value& self, std::string_view name) {
  if (self.is_text()) return find_text_method(name);
  if (self.is_dict()) return find_row(kDictMethods, name);
  if (self.is(Flavour::kList)) return find_row(kListMethods, name);
  if ((self.is(Flavour::kTuple) || self.is(Flavour::kRange)) && name != "copy") return find_row(kListMethods, name);
  return nullptr;
}

bool is_forbidden_method(const Value& self, std::string_view name) {
  const auto in = [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); };
  return (self.is(Flavour::kList) && in(kListForbidden)) || (self.is_dict() && in(kDictForbidden));
}

}  // namespace lamina::text::jinja

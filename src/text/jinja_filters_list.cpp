#include <algorithm>
#include <array>

#include "text/jinja_filters.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_sort.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

using Call = Invocation;

Value iterator(Evaluator& ev, std::vector<Value> items) {
  return ev.list(std::move(items), Flavour::kIterator);
}

/// Looks up attributes like "a.b.0", as the `attribute` parameters of many filters do.
class Getter {
 public:
  Getter(Evaluator& ev, const Value& path) : ev_(ev) {
    if (path.is_none()) return;
    if (!path.is_text()) {
      parts_.push_back(path);
      return;
    }
    std::string_view left = path.view();
    while (true) {
      const size_t dot = left.find('.');
      parts_.push_back(part(left.substr(0, dot)));
      if (dot == std::string_view::npos) break;
      left.remove_prefix(dot + 1);
    }
  }

  Value operator()(Value item, const Value* fallback = nullptr) const {
    for (const Value& name : parts_) {
      item = get_item(ev_, item, name);
      if (fallback != nullptr && item.is_undefined()) item = *fallback;
    }
    return item;
  }

 private:
  static Value part(std::string_view text) {
    const bool digits =
        !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string_view::npos;
    return digits ? Value(static_cast<int64_t>(std::stoll(std::string(text)))) : Value::text(std::string(text));
  }

  Evaluator& ev_;
  std::vector<Value> parts_;
};

Value fold_case(Evaluator& ev, Value value, bool case_sensitive) {
  if (case_sensitive || !value.is_text()) return value;
  return ev.text(to_lower(value.view()));
}

struct Keyed {
  Value key;
  Value item;
};

void sort_keyed(Evaluator& ev, std::vector<Keyed>& rows, bool reverse) {
  int64_t cost = static_cast<int64_t>(rows.size());
  for (size_t n = rows.size(); n > 1; n /= 2) cost += static_cast<int64_t>(rows.size());
  ev.meter().step(cost);
  merge_sort(rows,
             [reverse](const Keyed& a, const Keyed& b) { return reverse ? less(b.key, a.key) : less(a.key, b.key); });
}

Value items_of(Evaluator& ev, std::vector<Keyed>& rows) {
  std::vector<Value> items;
  items.reserve(rows.size());
  for (Keyed& row : rows) items.push_back(std::move(row.item));
  return ev.list(std::move(items));
}

Value do_length(Call& call) {
  const auto size = length(call.self);
  if (!size) raise("object of type '{}' has no len()", call.self.type_name());
  return Value(*size);
}

Value do_default(Call& call) {
  const bool replace = call.self.is_undefined() || (call.flag(1) && !call.self.truthy());
  return replace ? call.value(0, Value::text("")) : call.self;
}

Value do_list(Call& call) {
  return call.ev.list(iterate(call.ev, call.self));
}

Value do_first(Call& call) {
  if (call.self.is(Flavour::kIterator)) {
    Sequence& sequence = call.self.sequence();
    if (sequence.taken < sequence.items.size()) return sequence.items[sequence.taken++];
  } else if (call.self.is_text() && call.self.text().length > 0) {
    return point_at(call.ev, call.self.text(), 0);
  } else {
    const auto items = iterate(call.ev, call.self);
    if (!items.empty()) return items.front();
  }
  return Value::undefined("No first item, sequence was empty.");
}

Value do_last(Call& call) {
  if (call.self.is(Flavour::kIterator)) raise("'generator' object is not reversible");
  if (call.self.is_text() && call.self.text().length > 0) {
    return point_at(call.ev, call.self.text(), call.self.text().length - 1);
  }
  const auto items = iterate(call.ev, call.self);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value do_join(Call& call) {
  const Getter getter(call.ev, call.value(1));
  const std::string separator = call.has(0) ? call.ev.print(call.at(0)) : "";
  BoundedText out(call.ev.text_limit());
  bool first = true;
  for (Value& item : iterate(call.ev, call.self)) {
    if (!first) out.append(separator);
    first = false;
    out.append(call.ev.print(getter(std::move(item))));
  }
  return call.ev.text(out.take());
}

Value do_reverse(Call& call) {
  if (call.self.is_text()) return get_slice(call.ev, call.self, Value(), Value(), Value(int64_t{-1}));
  const bool generator = call.self.is(Flavour::kIterator) || call.self.is_undefined();
  auto items = iterate(call.ev, call.self);
  std::reverse(items.begin(), items.end());
  return generator ? call.ev.list(std::move(items)) : iterator(call.ev, std::move(items));
}

Value do_sort(Call& call) {
  const bool case_sensitive = call.flag(1);
  std::vector<Getter> getters;
  if (call.given(2) && call.at(2).is_text()) {
    std::string_view left = call.at(2).view();
    for (size_t comma = 0; comma != std::string_view::npos; left.remove_prefix(std::min(comma, left.size() - 1) + 1)) {
      comma = left.find(',');
      getters.emplace_back(call.ev, Value::text(std::string(left.substr(0, comma))));
      if (comma == std::string_view::npos) break;
    }
  } else {
    getters.emplace_back(call.ev, call.value(2));
  }
  std::vector<Keyed> rows;
  for (Value& item : iterate(call.ev, call.self)) {
    std::vector<Value> key;
    for (const Getter& getter : getters) key.push_back(fold_case(call.ev, getter(item), case_sensitive));
    rows.push_back({call.ev.list(std::move(key)), std::move(item)});
  }
  sort_keyed(call.ev, rows, call.strict_flag(0));
  return items_of(call.ev, rows);
}

Value do_dictsort(Call& call) {
  if (!call.self.is_dict()) raise("dictsort expects a mapping, not {}", call.self.type_name());
  const std::string_view by = call.text(1, "key");
  if (by != "key" && by != "value") raise("you can only sort by either \"key\" or \"value\"");
  std::vector<Keyed> rows;
  for (const auto& [key, value] : call.self.dict().entries) {
    rows.push_back(
        {fold_case(call.ev, by == "key" ? key : value, call.flag(0)), call.ev.list({key, value}, Flavour::kTuple)});
  }
  sort_keyed(call.ev, rows, call.strict_flag(2));
  return items_of(call.ev, rows);
}

Value do_unique(Call& call) {
  const Getter getter(call.ev, call.value(1));
  Dict seen;
  std::vector<Value> items;
  for (Value& item : iterate(call.ev, call.self)) {
    Value key = fold_case(call.ev, getter(item), call.flag(0));
    if (seen.find(key) != nullptr) continue;
    seen.set(std::move(key), Value());
    items.push_back(std::move(item));
  }
  return iterator(call.ev, std::move(items));
}

Value extreme(Call& call, bool largest) {
  const Getter getter(call.ev, call.value(1));
  std::optional<Keyed> best;
  for (Value& item : iterate(call.ev, call.self)) {
    Value key = fold_case(call.ev, getter(item), call.flag(0));
    if (!best || (largest ? less(best->key, key, ">") : less(key, best->key)))
      best = Keyed{std::move(key), std::move(item)};
  }
  return best ? std::move(best->item) : Value::undefined("No aggregated item, sequence was empty.");
}
Value do_min(Call& call) {
  return extreme(call, false);
}
Value do_max(Call& call) {
  return extreme(call, true);
}

Value do_sum(Call& call) {
  const Getter getter(call.ev, call.value(0));
  Value total = call.value(1, Value(int64_t{0}));
  if (total.is_text()) raise("sum() can't sum strings [use ''.join(seq) instead]");
  for (Value& item : iterate(call.ev, call.self)) total = binary(call.ev, "+", total, getter(std::move(item)));
  return total;
}

Value do_items(Call& call) {
  if (call.self.is_undefined()) return iterator(call.ev, {});
  if (!call.self.is_dict()) raise("can only get item pairs from a mapping");
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.dict().entries)
    items.push_back(call.ev.list({key, value}, Flavour::kTuple));
  return iterator(call.ev, std::move(items));
}

Value do_attr(Call& call) {
  const Value value = call.self.is_dict() && find_method(call.self, call.text(0)) == nullptr
                          ? Value::undefined(missing_message(call.self, call.at(0)))
                          : get_attribute(call.ev, call.self, call.text(0));
  return value;
}

Value do_batch(Call& call) {
  const int64_t size = std::max<int64_t>(call.integer(0), -1);
  std::vector<Value> rows, row;
  const auto flush = [&] {
    rows.push_back(call.ev.list(std::move(row)));
    row.clear();
  };
  for (Value& item : iterate(call.ev, call.self)) {
    if (static_cast<int64_t>(row.size()) == size) flush();
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    const int64_t missing = call.given(1) ? size - static_cast<int64_t>(row.size()) : 0;
    if (missing > call.ev.meter().limits().value_items) raise_limit("a batch of {} items", size);
    for (int64_t i = 0; i < missing; ++i) row.push_back(call.at(1));
    flush();
  }
  return iterator(call.ev, std::move(rows));
}

Value do_slice(Call& call) {
  const int64_t slices = call.integer(0);
  if (slices == 0) raise("integer division or modulo by zero");
  if (slices > call.ev.meter().limits().value_items) raise_limit("{} slices", slices);
  const auto items = iterate(call.ev, call.self);
  const auto size = static_cast<int64_t>(items.size());
  std::vector<Value> rows;
  int64_t begin = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const bool extra = i < size % slices;
    const int64_t end = begin + size / slices + extra;
    std::vector<Value> row(items.begin() + begin, items.begin() + end);
    if (call.given(1) && !extra) row.push_back(call.at(1));
    rows.push_back(call.ev.list(std::move(row)));
    begin = end;
  }
  return iterator(call.ev, std::move(rows));
}

Value do_groupby(Call& call) {
  const Getter getter(call.ev, call.at(0));
  const Value fallback = call.value(1);
  const Value* missing = call.given(1) ? &fallback : nullptr;
  std::vector<Keyed> rows;
  for (Value& item : iterate(call.ev, call.self)) {
    rows.push_back({fold_case(call.ev, getter(item, missing), call.flag(2)), std::move(item)});
  }
  sort_keyed(call.ev, rows, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < rows.size();) {
    const Value key = call.flag(2) ? rows[i].key : getter(rows[i].item, missing);
    std::vector<Value> members;
    const size_t first = i;
    for (; i < rows.size() && equal(rows[i].key, rows[first].key); ++i) members.push_back(rows[i].item);
    groups.push_back(call.ev.list({key, call.ev.list(std::move(members))}, Flavour::kTuple));
  }
  return call.ev.list(std::move(groups));
}

Value do_map(Call& call) {
  std::vector<Value> items;
  if (!call.self.truthy()) return iterator(call.ev, {});
  Arguments& arguments = call.rest;
  if (arguments.positional.empty()) {
    const auto attribute = arguments.take("attribute");
    const auto fallback = arguments.take("default");
    if (!attribute) raise("map requires a filter argument");
    if (!arguments.named.empty()) raise("unexpected keyword argument '{}'", arguments.named.front().first);
    const Getter getter(call.ev, *attribute);
    const bool has_default = fallback && !fallback->is_none();
    for (Value& item : iterate(call.ev, call.self)) {
      items.push_back(getter(std::move(item), has_default ? &*fallback : nullptr));
    }
    return iterator(call.ev, std::move(items));
  }
  if (!arguments.positional[0].is_text()) raise("map requires the name of a filter");
  const std::string name(arguments.positional[0].view());
  arguments.positional.erase(arguments.positional.begin());
  for (Value& item : iterate(call.ev, call.self))
    items.push_back(apply_filter(call.ev, name, std::move(item), arguments));
  return iterator(call.ev, std::move(items));
}

// select, reject, selectattr and rejectattr: keeps items for which the test answers `wanted`.
Value choose(Call& call, bool wanted, bool by_attribute) {
  if (!call.self.truthy()) return iterator(call.ev, {});
  Arguments& arguments = call.rest;
  Value path;
  if (by_attribute) {
    if (arguments.positional.empty()) raise("missing parameter for attribute name");
    path = arguments.positional[0];
    arguments.positional.erase(arguments.positional.begin());
  }
  const Getter getter(call.ev, path);
  const bool tested = !arguments.positional.empty();
  std::string test;
  if (tested) {
    if (!arguments.positional[0].is_text()) raise("the name of a test must be a string");
    test = arguments.positional[0].view();
    arguments.positional.erase(arguments.positional.begin());
  }
  std::vector<Value> items;
  for (Value& item : iterate(call.ev, call.self)) {
    const Value value = getter(item);
    const bool yes = tested ? apply_test(call.ev, test, value, arguments) : value.truthy();
    if (yes == wanted) items.push_back(std::move(item));
  }
  return iterator(call.ev, std::move(items));
}
Value do_select(Call& call) {
  return choose(call, true, false);
}
Value do_reject(Call& call) {
  return choose(call, false, false);
}
Value do_selectattr(Call& call) {
  return choose(call, true, true);
}
Value do_rejectattr(Call& call) {
  return choose(call, false, true);
}

constexpr std::array kFilters = {
    Function{"length", "", do_length},
    Function{"count", "", do_length},
    Function{"default", "default_value? boolean?", do_default},
    Function{"d", "default_value? boolean?", do_default},
    Function{"list", "", do_list},
    Function{"first", "", do_first},
    Function{"last", "", do_last},
    Function{"join", "d? attribute?", do_join},
    Function{"reverse", "", do_reverse},
    Function{"sort", "reverse? case_sensitive? attribute?", do_sort},
    Function{"dictsort", "case_sensitive? by? reverse?", do_dictsort},
    Function{"unique", "case_sensitive? attribute?", do_unique},
    Function{"min", "case_sensitive? attribute?", do_min},
    Function{"max", "case_sensitive? attribute?", do_max},
    Function{"sum", "attribute? start?", do_sum},
    Function{"items", "", do_items},
    Function{"attr", "name", do_attr},
    Function{"batch", "linecount fill_with?", do_batch},
    Function{"slice", "slices fill_with?", do_slice},
    Function{"groupby", "attribute default? case_sensitive?", do_groupby},
    Function{"map", "*", do_map},
    Function{"select", "*", do_select},
    Function{"reject", "*", do_reject},
    Function{"selectattr", "*", do_selectattr},
    Function{"rejectattr", "*", do_rejectattr},
};

}  // namespace

std::span<const Function> list_filters() {
  return kFilters;
}

const Function* find_filter(std::string_view name) {
  for (const auto rows : {text_filters(), list_filters()}) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const Function& f) { return f.name == name; });
    if (row != rows.end()) return &*row;
  }
  return nullptr;
}

}  // namespace lamina::text::jinja

#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

constexpr size_t kIndexFrom = 16;
constexpr int64_t kEntryBytes = static_cast<int64_t>(sizeof(std::pair<Value, Value>));
constexpr int64_t kItemBytes = static_cast<int64_t>(sizeof(Value));

bool equal_items(const Value& a, const Value& b) {
  if (a.items().size() != b.items().size()) return false;
  for (size_t i = 0; i < a.items().size(); ++i) {
    if (!equal(a.items()[i], b.items()[i])) return false;
  }
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(key);
    if (other == nullptr || !equal(value, *other)) return false;
  }
  return true;
}

// 64 bits of mantissa hold each int64 and each double exactly.
long double exact(const Value& value) {
  return value.is_real() ? static_cast<long double>(value.real()) : static_cast<long double>(value.integer());
}

Value json_value(const nlohmann::ordered_json& json, int depth);

Value json_object(const nlohmann::ordered_json& json, int depth) {
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, item] : json.items()) {
    if (!is_utf8(key)) raise("a key of the arguments is not UTF-8");
    Value value = json_value(item, depth + 1);
    dict->depth = std::max(dict->depth, value.depth() + 1);
    dict->weight += value.weight();
    dict->set(Value::text(key), std::move(value));
  }
  return Value(std::move(dict));
}

Value json_array(const nlohmann::ordered_json& json, int depth) {
  auto list = std::make_shared<Sequence>();
  list->items.reserve(json.size());
  for (const auto& item : json) {
    list->items.push_back(json_value(item, depth + 1));
    list->depth = std::max(list->depth, list->items.back().depth() + 1);
    list->weight += list->items.back().weight();
  }
  return Value(std::move(list));
}

Value json_value(const nlohmann::ordered_json& json, int depth) {
  if (depth > kMaxValueDepth) raise_limit("arguments nested deeper than {}", kMaxValueDepth);
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::object:
      return json_object(json, depth);
    case Type::array:
      return json_array(json, depth);
    case Type::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (!is_utf8(text)) raise("a string of the arguments is not UTF-8");
      return Value::text(text);
    }
    case Type::boolean:
      return Value(json.get<bool>());
    case Type::number_integer:
      return Value(json.get<int64_t>());
    case Type::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        raise_limit("an integer of the arguments exceeds 64 bits");
      }
      return Value(json.get<int64_t>());
    case Type::number_float:
      return Value(json.get<double>());
    default:
      return Value();
  }
}

}  // namespace

Text::Text(std::string value, bool is_safe, Meter* owner)
    : bytes(std::move(value)), length(count_points(bytes)), safe(is_safe), meter(owner) {}

Text::~Text() {
  if (meter != nullptr) meter->give(static_cast<int64_t>(bytes.size() + sizeof(Text)));
}

Sequence::~Sequence() {
  if (meter != nullptr) meter->give(static_cast<int64_t>(items.size()) * kItemBytes);
}

Dict::~Dict() {
  if (meter != nullptr) meter->give(static_cast<int64_t>(entries.size()) * kEntryBytes);
}

const Value* Dict::find(const Value& key) const {
  if (key.is_text()) return find(key.view());
  const size_t hash = hash_key(key);
  if (index.empty()) {
    for (const auto& [k, v] : entries) {
      if (equal(k, key)) return &v;
    }
    return nullptr;
  }
  const auto [begin, end] = index.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (equal(entries[it->second].first, key)) return &entries[it->second].second;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (index.empty()) {
    for (const auto& [k, v] : entries) {
      if (k.is_text() && k.view() == key) return &v;
    }
    return nullptr;
  }
  const auto [begin, end] = index.equal_range(std::hash<std::string_view>{}(key));
  for (auto it = begin; it != end; ++it) {
    const auto& [k, v] = entries[it->second];
    if (k.is_text() && k.view() == key) return &v;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (const Value* old = find(key)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() < kIndexFrom) return;
  for (size_t i = index.empty() ? 0 : entries.size() - 1; i < entries.size(); ++i) {
    index.emplace(hash_key(entries[i].first), i);
  }
}

Value Value::undefined(std::string message) {
  return Value(std::make_shared<const UndefinedInfo>(UndefinedInfo{std::move(message)}));
}

Value Value::text(std::string bytes) {
  return Value(std::make_shared<const Text>(std::move(bytes), false, nullptr));
}

bool Value::truthy() const {
  if (is_none() || is_undefined()) return false;
  if (is_bool()) return boolean();
  if (is_integer()) return integer() != 0;
  if (is_real()) return real() != 0.0;
  if (is_text()) return !view().empty();
  if (is_sequence()) return sequence().flavour == Flavour::kIterator || !items().empty();
  if (is_dict()) return !dict().entries.empty();
  return true;
}

bool Value::same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_text()) return view() == other.view();
  if (is_sequence()) return &sequence() == &other.sequence();
  if (is_dict()) return &dict() == &other.dict();
  if (is_object()) return &object() == &other.object();
  if (is_undefined()) return std::get<Undefined>(data_) == std::get<Undefined>(other.data_);
  return equal(*this, other);
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_dict()) return dict().depth;
  if (is_object()) return object().depth();
  return 0;
}

int64_t Value::weight() const {
  if (is_sequence()) return sequence().weight;
  if (is_dict()) return dict().weight;
  return 1;
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_real()) return "float";
  if (is_text()) return text().safe ? "Markup" : "str";
  if (is_dict()) return "dict";
  if (is_object()) return object().type_name();
  static constexpr const char* kNames[] = {"list",        "tuple",      "range",    "dict_keys",
                                           "dict_values", "dict_items", "generator"};
  return kNames[static_cast<size_t>(sequence().flavour)];
}

std::optional<Value> Arguments::take(std::string_view name) {
  std::optional<Value> value;
  const auto it = std::find_if(named.begin(), named.end(), [&](const auto& entry) { return entry.first == name; });
  if (it == named.end()) return value;
  value.emplace(it->second);
  named.erase(it);
  return value;
}

std::optional<Value> Object::attribute(Evaluator&, std::string_view) {
  return std::nullopt;
}

Value Object::call(Evaluator&, Arguments&) {
  raise("'{}' object is not callable", type_name());
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return exact(a) == exact(b);
  if (a.is_text() && b.is_text()) return a.view() == b.view();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_dict() && b.is_dict()) return equal_dicts(a.dict(), b.dict());
  if (a.is_sequence() && b.is_sequence()) {
    const Flavour flavour = a.sequence().flavour;
    if (flavour != b.sequence().flavour) return false;
    if (flavour == Flavour::kIterator || flavour == Flavour::kValues) return a.same(b);
    return equal_items(a, b);
  }
  return a.is_object() && b.is_object() && a.same(b);
}

bool less(const Value& a, const Value& b, std::string_view sign) {
  if (a.is_undefined()) raise("{}", a.undefined_message());
  if (b.is_undefined()) raise("{}", b.undefined_message());
  if (a.is_number() && b.is_number()) return exact(a) < exact(b);
  if (a.is_text() && b.is_text()) return a.view() < b.view();
  if (a.is_list_or_tuple() && b.is_list_or_tuple() && a.sequence().flavour == b.sequence().flavour) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i) {
      if (!equal(a.items()[i], b.items()[i])) return less(a.items()[i], b.items()[i], sign);
    }
    return a.items().size() < b.items().size();
  }
  raise("'{}' not supported between instances of '{}' and '{}'", sign, a.type_name(), b.type_name());
}

size_t hash_key(const Value& key) {
  if (key.is_text()) return std::hash<std::string_view>{}(key.view());
  if (key.is_number()) return std::hash<double>{}(key.real());
  if (key.is_none() || key.is_undefined()) return 1;
  if (key.is_object()) return std::hash<const void*>{}(&key.object());
  if (key.is(Flavour::kTuple)) {
    size_t hash = 17;
    for (const Value& item : key.items()) hash = hash * 1000003 ^ hash_key(item);
    return hash;
  }
  if (key.is(Flavour::kRange) || key.is(Flavour::kIterator)) return key.items().size();
  raise("unhashable type: '{}'", key.type_name());
}

std::string missing_message(const Value& object, const Value& name) {
  std::string what = object.is_none() ? "None" : object.type_name() + " object";
  if (!name.is_text()) return what + " has no element " + repr(name);
  return "'" + what + "' has no attribute " + repr(name);
}

Value from_json(const nlohmann::ordered_json& json) {
  return json_value(json, 0);
}

}  // namespace lamina::text::jinja

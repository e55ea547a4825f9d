#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja_limits.h"

namespace lamina::text::jinja {

class Value;
class Object;
class Evaluator;

/// Why a value is undefined; the message of the error that its use raises.
struct UndefinedInfo {
  std::string message;
};

/// A string: UTF-8, its length in code points, and whether it is HTML-safe (Jinja2's Markup).
struct Text {
  std::string bytes;
  size_t length = 0;
  bool safe = false;
  Meter* meter = nullptr;

  Text(std::string value, bool is_safe, Meter* owner);
  ~Text();
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  bool ascii() const { return length == bytes.size(); }
};

/// What Python would call the sequence; decides printing, indexing and which methods it has.
enum class Flavour : uint8_t { kList, kTuple, kRange, kKeys, kValues, kItems, kIterator };

/// A sequence of values. An iterator gives each item once; the others never change.
struct Sequence {
  std::vector<Value> items;
  Flavour flavour = Flavour::kList;
  int depth = 1;
  int64_t weight = 1;                     ///< values in it, nested ones counted each time they occur
  size_t taken = 0;                       ///< iterator: items already given away
  int64_t start = 0, stop = 0, step = 1;  ///< range: its arguments
  Meter* meter = nullptr;

  ~Sequence();
};

/// A dictionary in insertion order.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_multimap<size_t, size_t> index;  ///< hash to entry, kept once there are many entries
  int depth = 1;
  int64_t weight = 1;
  Meter* meter = nullptr;

  ~Dict();
  /// The value of `key`, or null. Raises if the key is a list or a dictionary.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  /// Inserts or replaces.
  void set(Value key, Value value);
};

/// One value of a template: Python's types as far as templates can see them.
class Value {
 public:
  struct None {};
  using Undefined = std::shared_ptr<const UndefinedInfo>;
  using TextPtr = std::shared_ptr<const Text>;
  using SequencePtr = std::shared_ptr<Sequence>;
  using DictPtr = std::shared_ptr<Dict>;
  using ObjectPtr = std::shared_ptr<Object>;

  Value() : data_(None{}) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(TextPtr value) : data_(std::move(value)) {}
  explicit Value(SequencePtr value) : data_(std::move(value)) {}
  explicit Value(DictPtr value) : data_(std::move(value)) {}
  explicit Value(ObjectPtr value) : data_(std::move(value)) {}

  static Value undefined(std::string message);
  /// A string that is not counted by any meter: constants and arguments.
  static Value text(std::string bytes);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  /// bool, int or float.
  bool is_number() const { return is_bool() || is_integer() || is_real(); }
  /// bool or int: what Python accepts as an index.
  bool is_index() const { return is_bool() || is_integer(); }
  bool is_text() const { return std::holds_alternative<TextPtr>(data_); }
  bool is_sequence() const { return std::holds_alternative<SequencePtr>(data_); }
  bool is_dict() const { return std::holds_alternative<DictPtr>(data_); }
  bool is_object() const { return std::holds_alternative<ObjectPtr>(data_); }
  bool is(Flavour flavour) const { return is_sequence() && sequence().flavour == flavour; }
  bool is_list_or_tuple() const { return is(Flavour::kList) || is(Flavour::kTuple); }

  bool boolean() const { return std::get<bool>(data_); }
  /// The number of a bool or int.
  int64_t integer() const { return is_bool() ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_); }
  /// The number of a bool, int or float.
  double real() const { return is_real() ? std::get<double>(data_) : static_cast<double>(integer()); }
  const Text& text() const { return *std::get<TextPtr>(data_); }
  std::string_view view() const { return text().bytes; }
  bool is_safe() const { return is_text() && text().safe; }
  Sequence& sequence() const { return *std::get<SequencePtr>(data_); }
  const std::vector<Value>& items() const { return sequence().items; }
  Dict& dict() const { return *std::get<DictPtr>(data_); }
  Object& object() const { return *std::get<ObjectPtr>(data_); }
  const ObjectPtr& object_ptr() const { return std::get<ObjectPtr>(data_); }
  const std::string& undefined_message() const { return std::get<Undefined>(data_)->message; }

  /// Python's bool(). Sequences and dictionaries by size; iterators and objects are true.
  bool truthy() const;
  /// The same object: Python's `is`, by address or by value of a small type.
  bool same(const Value& other) const;
  /// Nesting: 0 for anything that holds no other value.
  int depth() const;
  /// Values that a walk through it would visit.
  int64_t weight() const;
  /// Python's name of the type, as in its error messages.
  std::string type_name() const;

 private:
  explicit Value(Undefined value) : data_(std::move(value)) {}

  std::variant<None, Undefined, bool, int64_t, double, TextPtr, SequencePtr, DictPtr, ObjectPtr> data_;
};

/// Arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// Removes and returns the named argument.
  std::optional<Value> take(std::string_view name);
};

/// Something that is neither text nor number nor container: a macro, a namespace, a method, the loop.
class Object : public std::enable_shared_from_this<Object> {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  /// What printing it shows.
  virtual std::string describe() const { return "<" + type_name() + ">"; }
  /// What a namespace shows of itself; null for other things.
  virtual const Dict* shown() const { return nullptr; }
  /// The value of the attribute, or nothing.
  virtual std::optional<Value> attribute(Evaluator& ev, std::string_view name);
  /// Nesting of the values that it destroys with itself.
  virtual int depth() const { return 0; }
  virtual bool callable() const { return false; }
  virtual Value call(Evaluator& ev, Arguments& arguments);
  /// Drops the values it holds, so that cycles end with the rendering.
  virtual void clear() {}
};

/// Python's ==.
bool equal(const Value& a, const Value& b);
/// Python's <, for numbers, strings, lists and tuples; raises for anything else. `sign` is the operator for the
/// message.
bool less(const Value& a, const Value& b, std::string_view sign = "<");
/// Hash that is the same for values that compare equal; raises for lists and dictionaries.
size_t hash_key(const Value& key);
/// Text that Undefined carries when `object` has no attribute or item `name`.
std::string missing_message(const Value& object, const Value& name);

/// Copies JSON. Raises on invalid UTF-8, on nesting deeper than kMaxValueDepth, and on integers above 2^63 - 1.
Value from_json(const nlohmann::ordered_json& json);

}  // namespace lamina::text::jinja

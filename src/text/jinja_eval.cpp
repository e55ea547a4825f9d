#include "text/jinja_eval.h"

#include <algorithm>
#include <set>

#include "text/jinja_function.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"

namespace lamina::text::jinja {

// Counts nested evaluations and restores the line of the node around.
class Evaluator::Depth {
 public:
  Depth(Evaluator& ev, int line) : ev_(ev), line_(ev.line_) {
    if (line > 0) ev_.line_ = line;
    if (ev_.depth_ >= ev_.meter_.limits().eval_depth) {
      raise_limit("more than {} nested evaluations; a macro may call itself without end",
                  ev_.meter_.limits().eval_depth);
    }
    ++ev_.depth_;
    ev_.meter_.step();
  }
  ~Depth() { --ev_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;
  /// Called on success only: a failure keeps the line of the node that raised it.
  void leave() { ev_.line_ = line_; }

 private:
  Evaluator& ev_;
  int line_;
};

void Scope::set(std::string_view name, Value value) {
  for (auto& [key, old] : names) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

const Value* Scope::find(std::string_view name) const {
  for (const auto& [key, value] : names) {
    if (key == name) return &value;
  }
  return nullptr;
}

Evaluator::Evaluator(const TemplateLimits& limits, std::optional<int64_t> now_unix)
    : meter_(limits), now_unix_(now_unix), scope_(std::make_shared<Scope>()) {}

Evaluator::~Evaluator() {
  for (const auto& object : kept_) object->clear();
  scope_.reset();
}

std::string Evaluator::render(const Body& body, const std::vector<std::pair<std::string, Value>>& arguments) {
  for (const auto& [name, value] : arguments) scope_->set(name, value);
  std::string out;
  output_ = &out;
  output_limit_ = meter_.limits().output_bytes;
  run(body);
  output_ = nullptr;
  return out;
}

Value Evaluator::eval(const Expression& expression) {
  Depth depth(*this, expression.line);
  Value value = expression.eval(*this);
  depth.leave();
  return value;
}

Flow Evaluator::run(const Body& body) {
  for (const auto& statement : body) {
    Depth depth(*this, statement->line);
    const Flow flow = statement->run(*this);
    depth.leave();
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

std::string Evaluator::capture(const std::function<void()>& action) {
  struct Restore {
    Evaluator& ev;
    std::string* output;
    int64_t limit;
    ~Restore() {
      ev.output_ = output;
      ev.output_limit_ = limit;
    }
  };
  std::string text;
  const Restore restore{*this, output_, output_limit_};
  output_ = &text;
  output_limit_ = text_limit();
  action();
  return text;
}

void Evaluator::write(std::string_view text) {
  meter_.step(static_cast<int64_t>(text.size() / 32));
  if (static_cast<int64_t>(output_->size() + text.size()) > output_limit_) {
    raise_limit("more than {} bytes of output", output_limit_);
  }
  output_->append(text);
}

Value Evaluator::text(std::string bytes, bool safe) {
  if (static_cast<int64_t>(bytes.size()) > text_limit()) raise_limit("a text longer than {} bytes", text_limit());
  meter_.step(static_cast<int64_t>(bytes.size() / 32));
  meter_.take(static_cast<int64_t>(bytes.size() + sizeof(Text)));
  return Value(std::make_shared<const Text>(std::move(bytes), safe, &meter_));
}

Value Evaluator::list(std::vector<Value> items, Flavour flavour) {
  int depth = 0;
  int64_t weight = 1;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
    weight += item.weight();
  }
  const int64_t limit = meter_.limits().value_items;
  if (depth >= kMaxValueDepth) raise_limit("values nested deeper than {}", kMaxValueDepth);
  if (weight > limit && static_cast<int64_t>(items.size()) < weight - 1)
    raise_limit("a list of more than {} values", limit);
  if (static_cast<int64_t>(items.size()) > limit) raise_limit("a list of more than {} items", limit);
  meter_.step(static_cast<int64_t>(items.size() / 4));
  meter_.take(static_cast<int64_t>(items.size() * sizeof(Value)));
  auto sequence = std::make_shared<Sequence>();
  sequence->items = std::move(items);
  sequence->flavour = flavour;
  sequence->depth = depth + 1;
  sequence->weight = weight;
  sequence->meter = &meter_;
  return Value(std::move(sequence));
}

Value Evaluator::dict(std::shared_ptr<Dict> dict) {
  int depth = 0;
  int64_t weight = 1;
  for (const auto& [key, value] : dict->entries) {
    depth = std::max({depth, key.depth(), value.depth()});
    weight += key.weight() + value.weight();
  }
  if (depth >= kMaxValueDepth) raise_limit("values nested deeper than {}", kMaxValueDepth);
  if (weight > 2 * meter_.limits().value_items) {
    raise_limit("a dictionary of more than {} values", meter_.limits().value_items);
  }
  meter_.step(static_cast<int64_t>(dict->entries.size() / 2));
  meter_.take(static_cast<int64_t>(dict->entries.size() * sizeof(dict->entries[0])));
  dict->meter = &meter_;
  dict->depth = depth + 1;
  dict->weight = weight;
  return Value(std::move(dict));
}

Value Evaluator::keep(std::shared_ptr<Object> object) {
  if (static_cast<int64_t>(kept_.size()) >= meter_.limits().objects) {
    raise_limit("more than {} namespaces, macros and similar objects", meter_.limits().objects);
  }
  kept_.push_back(object);
  return Value(std::move(object));
}

std::string Evaluator::print(const Value& value) {
  return str(value, text_limit());
}

Value Evaluator::lookup(std::string_view name) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    charge_names(scope->names.size());
    if (const Value* value = scope->find(name)) return *value;
  }
  if (const Function* function = find_global(name)) return global_value(*function);
  return Value::undefined(fmt::format("'{}' is undefined", name));
}

void Evaluator::assign(const Target& target, const Value& value) {
  if (!target.tuple && target.attribute.empty()) return define(target.name, value);
  if (!target.tuple) {
    const Value object = lookup(target.name);
    auto* space = object.is_object() ? dynamic_cast<Namespace*>(&object.object()) : nullptr;
    if (space == nullptr) raise("cannot assign attribute on non-namespace object");
    return space->set(target.attribute, value);
  }
  const std::vector<Value> items = iterate(*this, value);
  if (items.size() < target.parts.size()) {
    raise("not enough values to unpack (expected {}, got {})", target.parts.size(), items.size());
  }
  if (items.size() > target.parts.size()) raise("too many values to unpack (expected {})", target.parts.size());
  for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
}

Value Evaluator::call(const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) raise("{}", callee.undefined_message());
  if (!callee.is_object()) raise("'{}' object is not callable", callee.type_name());
  const Value alive = callee;
  return alive.object().call(*this, arguments);
}

Arguments Evaluator::arguments(const ArgumentList& list) {
  Arguments result;
  result.positional.reserve(list.positional.size());
  for (const auto& item : list.positional) result.positional.push_back(eval(*item));
  for (const auto& [name, item] : list.named) result.named.emplace_back(name, eval(*item));
  if (list.star != nullptr) {
    for (Value& item : iterate(*this, eval(*list.star))) result.positional.push_back(std::move(item));
  }
  if (list.star_star != nullptr) {
    const Value extra = eval(*list.star_star);
    if (!extra.is_dict()) raise("argument after ** must be a mapping, not {}", extra.type_name());
    for (const auto& [key, value] : extra.dict().entries) {
      if (!key.is_text()) raise("keywords must be strings");
      result.named.emplace_back(std::string(key.view()), value);
    }
  }
  std::set<std::string_view> names;
  for (const auto& [name, value] : result.named) {
    if (!names.insert(name).second) raise("got multiple values for keyword argument '{}'", name);
  }
  return result;
}

}  // namespace lamina::text::jinja

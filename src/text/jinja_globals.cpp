#include <array>
#include <chrono>
#include <ctime>
#include <memory>

#include "text/jinja_function.h"
#include "text/jinja_objects.h"
#include "text/jinja_operators.h"
#include "text/jinja_time.h"

namespace lamina::text::jinja {
namespace {

Value raise_exception(Invocation& call) {
  raise("{}", call.ev.print(call.at(0)));
}

Value strftime_now(Invocation& call) {
  const auto now = call.ev.now_unix().value_or(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  return call.ev.text(format_time(call.text(0), now, call.ev.text_limit()));
}

// The pairs that dict() and namespace() take: a mapping or pairs, then keywords.
std::shared_ptr<Dict> make_dict(Invocation& call) {
  auto dict = std::make_shared<Dict>();
  if (call.rest.positional.size() > 1) raise("dict expected at most 1 argument, got {}", call.rest.positional.size());
  if (!call.rest.positional.empty()) {
    const Value& source = call.rest.positional[0];
    if (source.is_dict()) {
      for (const auto& [key, value] : source.dict().entries) dict->set(key, value);
    } else {
      for (const Value& pair : iterate(call.ev, source)) {
        std::vector<Value> items = iterate(call.ev, pair);
        if (items.size() != 2) raise("a pair of key and value expected, got {} items", items.size());
        dict->set(std::move(items[0]), std::move(items[1]));
      }
    }
  }
  for (auto& [name, value] : call.rest.named) dict->set(call.ev.text(name), std::move(value));
  return dict;
}

Value make_dict_value(Invocation& call) {
  return call.ev.dict(make_dict(call));
}

Value make_namespace(Invocation& call) {
  auto space = std::make_shared<Namespace>();
  const auto dict = make_dict(call);
  for (auto& [name, value] : dict->entries) {
    if (!name.is_text()) raise("attribute names must be strings");
    space->set(name.view(), std::move(value));
  }
  return call.ev.keep(std::move(space));
}

Value make_range(Invocation& call) {
  const bool one = !call.has(1);
  const int64_t start = one ? 0 : call.integer(0);
  const int64_t stop = one ? call.integer(0) : call.integer(1);
  const int64_t step = call.integer(2, 1);
  if (step == 0) raise("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (items.size() >= kMaxRange) raise_limit("range too big: {} items at most", kMaxRange);
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  Value range = call.ev.list(std::move(items), Flavour::kRange);
  range.sequence().start = start;
  range.sequence().stop = stop;
  range.sequence().step = step;
  return range;
}

Value make_cycler(Invocation& call) {
  if (call.rest.positional.empty()) raise("at least one item has to be provided");
  return call.ev.keep(std::make_shared<Cycler>(std::move(call.rest.positional)));
}

Value make_joiner(Invocation& call) {
  return call.ev.keep(std::make_shared<Joiner>(call.has(0) ? call.at(0) : call.ev.text(", ")));
}

constexpr std::array kGlobals = {
    Function{"raise_exception", "message", raise_exception},
    Function{"strftime_now", "format", strftime_now},
    Function{"namespace", "*", make_namespace},
    Function{"dict", "*", make_dict_value},
    Function{"range", "start stop? step?", make_range},
    Function{"cycler", "*", make_cycler},
    Function{"joiner", "sep?", make_joiner},
};

}  // namespace

const Function* find_global(std::string_view name) {
  for (const Function& row : kGlobals) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace lamina::text::jinja

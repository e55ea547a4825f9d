#include "text/json_object.h"

#include <algorithm>
#include <set>
#include <utility>

#include "text/json_schema.h"
#include "text/regex.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using Part = Grammar::Part;

constexpr size_t kMaxPatterns = 4;
constexpr size_t kMaxProperties = 1000;
constexpr int64_t kMaxCounted = 256;

/// A property that a schema names.
struct Property {
  std::string name;
  SchemaSet schemas{};
  bool required = false;
};

struct NamePattern {
  Automaton names;
  SchemaItem item;
  SchemaItem owner;
};

class ObjectMaker {
 public:
  ObjectMaker(Grammar& grammar, ValueMaker& maker, const SchemaSet& set)
      : grammar_(grammar), maker_(maker), set_(set) {}

  Result<Part> run() {
    LAMINA_CHECK_OK(read_patterns());
    LAMINA_CHECK_OK(read_names());
    LAMINA_CHECK_OK(read_properties());
    LAMINA_CHECK_OK(make_others());
    LAMINA_CHECK_OK(read_counts());
    const auto count = properties_.size();
    // From the last property to the first: what may follow it, by whether something stands before and by how many.
    std::vector<Part> first;
    std::vector<Part> later;
    for (int64_t have = 0; have <= cap_; ++have) {
      first.push_back(others(true, have));
      later.push_back(others(false, have));
    }
    for (size_t i = count; i-- > 0;) {
      std::vector<Part> first_here;
      std::vector<Part> later_here;
      for (int64_t have = 0; have <= cap_; ++have) {
        first_here.push_back(from(properties_[i], true, have, first, later));
        later_here.push_back(from(properties_[i], false, have, later, later));
      }
      first = named(std::move(first_here));
      later = named(std::move(later_here));
    }
    return grammar_.sequence({grammar_.bytes("{"), maker_.space(), first.front(), grammar_.bytes("}")});
  }

 private:
  Status read_patterns() {
    for (const SchemaItem& item : set_) {
      const auto found = item.schema->find("patternProperties");
      if (found == item.schema->end()) continue;
      const SchemaItem all = below(item, "patternProperties", *found);
      for (const auto& [pattern, schema] : found->items()) {
        const SchemaItem one = below(all, pattern, schema);
        if (patterns_.size() == kMaxPatterns)
          return fail(ErrorCode::kLimit, one.place, "more than {} patterns of names", kMaxPatterns);
        auto names = compile_regex(pattern, RegexUse::kSearch);
        if (!names) return at_place(names.error(), one.place);
        patterns_.push_back({.names = std::move(*names), .item = one, .owner = item});
      }
    }
    return {};
  }

  /// The names that propertyNames allows.
  Status read_names() {
    for (const SchemaItem& item : set_) {
      const auto found = item.schema->find("propertyNames");
      if (found == item.schema->end()) continue;
      const SchemaItem names = below(item, "propertyNames", *found);
      LAMINA_ASSIGN(const std::vector<SchemaSet> ways, expand({names}));
      if (ways.empty()) {
        names_ = Automaton{};
        return {};
      }
      if (ways.size() > 1) return fail(ErrorCode::kUnsupported, names.place, "alternatives of names cannot be kept to");
      LAMINA_CHECK_OK(add_names(ways.front(), names.place));
    }
    return {};
  }

  Status add_names(const SchemaSet& way, const std::string& place) {
    Automaton allowed = any_text();
    LAMINA_ASSIGN(const auto values, values_of(way));
    LAMINA_ASSIGN(const auto texts, string_automaton(way));
    if (values) {
      std::vector<std::string> names;
      for (const SchemaJson& value : *values) {
        if (value.is_string()) names.push_back(value.get<std::string>());
      }
      LAMINA_ASSIGN(allowed, automaton_of(names));
    } else if (!texts && (greatest(way, "minLength") || least(way, "maxLength"))) {
      LAMINA_ASSIGN(allowed, repeated_characters({{0, kLastCharacter}}, greatest(way, "minLength").value_or(0),
                                                 least(way, "maxLength").value_or(-1)));
    }
    if (texts) {
      LAMINA_ASSIGN(allowed, intersect(allowed, *texts));
    }
    auto both = intersect(names_, allowed);
    if (!both) return at_place(both.error(), place);
    names_ = std::move(*both);
    return {};
  }

  Property& property(const std::string& name) {
    const auto found = std::ranges::find(properties_, name, &Property::name);
    if (found != properties_.end()) return *found;
    properties_.push_back({.name = name});
    return properties_.back();
  }

  Status read_properties() {
    // In the order in which they are written, schema by schema; sets are ordered by address, so by place here.
    SchemaSet ordered = set_;
    std::ranges::sort(ordered, {}, &SchemaItem::place);
    for (const SchemaItem& item : ordered) {
      if (item.schema->contains("properties")) {
        for (const auto& [name, schema] : item.schema->at("properties").items()) property(name);
      }
    }
    for (const SchemaItem& item : ordered) {
      if (!item.schema->contains("required")) continue;
      for (const SchemaJson& name : item.schema->at("required")) property(name.get<std::string>()).required = true;
    }
    if (properties_.size() > kMaxProperties)
      return fail(ErrorCode::kLimit, place_of(set_, "properties"), "{} properties; at most {} expected",
                  properties_.size(), kMaxProperties);
    for (Property& one : properties_) one.schemas = schemas_of(one.name);
    return {};
  }

  /// All that holds for the value of a property of this name.
  SchemaSet schemas_of(const std::string& name) const {
    SchemaSet out;
    for (const SchemaItem& item : set_) {
      bool found = false;
      const auto properties = item.schema->find("properties");
      if (properties != item.schema->end() && properties->contains(name)) {
        out.push_back(below(below(item, "properties", *properties), name, properties->at(name)));
        found = true;
      }
      for (const NamePattern& pattern : patterns_) {
        if (!(pattern.owner == item) || !pattern.names.matches(name)) continue;
        out.push_back(pattern.item);
        found = true;
      }
      if (!found) add_additional(item, out);
    }
    return out;
  }

  static void add_additional(const SchemaItem& item, SchemaSet& out) {
    const auto additional = item.schema->find("additionalProperties");
    if (additional != item.schema->end()) out.push_back(below(item, "additionalProperties", *additional));
  }

  static bool never(const SchemaSet& schemas) {
    return std::ranges::any_of(
        schemas, [](const SchemaItem& one) { return one.schema->is_boolean() && !one.schema->get<bool>(); });
  }

  Part pair(Part name, const SchemaSet& schemas) {
    return grammar_.sequence({name, grammar_.bytes(":"), maker_.space(), maker_.value(schemas)});
  }

  /// A property whose name the schemas do not give: one part for each way in which the patterns of names may hold.
  Status make_others() {
    std::vector<std::string> given;
    for (const Property& one : properties_) given.push_back(one.name);
    LAMINA_ASSIGN(const Automaton known, automaton_of(given));
    LAMINA_ASSIGN(const Automaton free, subtract(names_, known));
    std::vector<Part> parts;
    for (size_t choice = 0; choice < (size_t{1} << patterns_.size()); ++choice) {
      Automaton names = free;
      for (size_t i = 0; i < patterns_.size(); ++i) {
        const bool holds = (choice >> i & 1) != 0;
        auto narrowed = holds ? intersect(names, patterns_[i].names) : subtract(names, patterns_[i].names);
        if (!narrowed) return at_place(narrowed.error(), patterns_[i].item.place);
        names = std::move(*narrowed);
      }
      SchemaSet schemas;
      for (const SchemaItem& item : set_) {
        bool found = false;
        for (size_t i = 0; i < patterns_.size(); ++i) {
          if ((choice >> i & 1) == 0 || !(patterns_[i].owner == item)) continue;
          schemas.push_back(patterns_[i].item);
          found = true;
        }
        if (!found) add_additional(item, schemas);
      }
      if (names.empty() || never(schemas)) continue;
      const Part text = grammar_.sequence(
          {grammar_.bytes("\""), grammar_.characters(std::move(names), Spelling::kJsonString), grammar_.bytes("\"")});
      parts.push_back(pair(text, schemas));
    }
    has_others_ = !parts.empty();
    if (has_others_) other_ = grammar_.choice(std::move(parts));
    return {};
  }

  Status read_counts() {
    const int64_t required = std::ranges::count(properties_, true, &Property::required);
    most_ = least(set_, "maxProperties").value_or(-1);
    least_ = greatest(set_, "minProperties").value_or(0);
    if (least_ <= required) least_ = 0;
    if (most_ >= std::ssize(properties_) && !has_others_) most_ = -1;
    // Of others only one is certain to be new: two may have one name.
    if (least_ > required + 1 && has_others_) {
      return fail(
          ErrorCode::kUnsupported, place_of(set_, "minProperties"),
          "that names differ cannot be kept to while writing; additionalProperties: false expected, or at most {} here",
          required + 1);
    }
    cap_ = most_ >= 0 ? most_ : least_;
    if (cap_ > kMaxCounted)
      return fail(ErrorCode::kLimit, place_of(set_, most_ >= 0 ? "maxProperties" : "minProperties"),
                  "found {}; at most {} expected", cap_, kMaxCounted);
    return {};
  }

  Part comma() { return grammar_.sequence({grammar_.bytes(","), maker_.space()}); }

  /// What may follow the properties that are given: others, and the end.
  Part others(bool first, int64_t have) {
    const int64_t low = std::max<int64_t>(least_ - have, 0);
    const int64_t high = most_ < 0 ? -1 : most_ - have;
    const Part nothing = first ? grammar_.sequence({}) : maker_.space();
    if (!has_others_ || high == 0) return low == 0 ? nothing : grammar_.choice({});
    const Part next = grammar_.sequence({comma(), other_});
    if (!first) return grammar_.sequence({grammar_.repeat(next, low, high), maker_.space()});
    const Part more = grammar_.sequence(
        {other_, grammar_.repeat(next, std::max<int64_t>(low - 1, 0), high < 0 ? -1 : high - 1), maker_.space()});
    return low == 0 ? grammar_.choice({nothing, more}) : more;
  }

  /// The property and what follows it, or only that where it may be left out. `without`, `with`: what follows, by how
  /// many properties there are.
  Part from(const Property& one, bool first, int64_t have, const std::vector<Part>& without,
            const std::vector<Part>& with) {
    std::vector<Part> parts;
    const bool full = most_ >= 0 && have >= most_;
    if (!full && !never(one.schemas) && names_.matches(one.name)) {
      const Part own = pair(grammar_.bytes(json_text(one.name)), one.schemas);
      const auto next = static_cast<size_t>(std::min(have + 1, cap_));
      std::vector<Part> sequence{own, with[next]};
      if (!first) sequence.insert(sequence.begin(), comma());
      parts.push_back(grammar_.sequence(std::move(sequence)));
    }
    if (!one.required) parts.push_back(without[static_cast<size_t>(have)]);
    return grammar_.choice(std::move(parts));
  }

  /// As rules: they are used several times.
  std::vector<Part> named(std::vector<Part> parts) {
    for (Part& part : parts) {
      const Grammar::Rule rule = grammar_.declare(set_.front().place + " (rest)");
      grammar_.define(rule, part);
      part = grammar_.rule(rule);
    }
    return parts;
  }

  Grammar& grammar_;
  ValueMaker& maker_;
  const SchemaSet& set_;
  std::vector<NamePattern> patterns_;
  Automaton names_ = any_text();
  std::vector<Property> properties_;
  Part other_ = 0;
  bool has_others_ = false;
  int64_t least_ = 0;
  int64_t most_ = -1;
  int64_t cap_ = 0;  ///< how far properties are counted
};

}  // namespace

Result<Part> object_part(Grammar& grammar, ValueMaker& maker, const SchemaSet& set) {
  constexpr std::array kOwn{"properties", "patternProperties", "additionalProperties", "propertyNames",
                            "required",   "minProperties",     "maxProperties"};
  const auto says = [&](const SchemaItem& item) {
    return std::ranges::any_of(kOwn, [&](const char* keyword) { return item.schema->contains(keyword); });
  };
  if (std::ranges::none_of(set, says)) return maker.any_object();
  return ObjectMaker(grammar, maker, set).run();
}

}  // namespace lamina::text

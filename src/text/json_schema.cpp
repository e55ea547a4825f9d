#include "text/json_schema.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "text/json_number.h"
#include "text/json_object.h"
#include "text/json_schema_parts.h"

namespace lamina::text {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using Part = Grammar::Part;

namespace {

/// Keywords that an enum's values would have to be held against.
constexpr std::array kBesideEnum{"minLength",     "maxLength",        "pattern",          "format",
                                 "minimum",       "maximum",          "exclusiveMinimum", "multipleOf",
                                 "items",         "exclusiveMaximum", "prefixItems",      "minItems",
                                 "maxItems",      "required",         "properties",       "patternProperties",
                                 "propertyNames", "minProperties",    "maxProperties",    "additionalProperties"};
constexpr int64_t kMaxPrefix = 200;

Automaton one_character() {
  return {.states = {{.edges = {{0, kLastCharacter, 1}}}, {.accepts = true}}};
}

}  // namespace

std::string json_text(const std::string& text) {
  return SchemaJson(text).dump(-1, ' ', false, SchemaJson::error_handler_t::replace);
}

/// Makes rules of sets of schemas, each set once, so that schemas may refer to themselves.
class JsonGrammar::Schemas : public ValueMaker {
 public:
  Schemas(Grammar& grammar, JsonGrammar& json) : grammar_(grammar), json_(json) {}

  Part value(SchemaSet set) override {
    std::erase_if(set, [](const SchemaItem& item) { return item.schema->is_boolean() && item.schema->get<bool>(); });
    if (set.empty()) return json_.any_value();
    std::ranges::sort(set, {}, &SchemaItem::schema);
    set.erase(std::ranges::unique(set).begin(), set.end());
    std::vector<const Json*> key;
    for (const SchemaItem& item : set) key.push_back(item.schema);
    const auto [entry, added] = rules_.emplace(std::move(key), 0);
    if (added) {
      entry->second = grammar_.declare(set.front().place);
      waiting_.emplace_back(entry->second, std::move(set));
    }
    return grammar_.rule(entry->second);
  }
  Part space() override { return json_.space(); }
  Part any_object() override { return json_.any_object(); }

  Status finish() {
    while (!waiting_.empty()) {
      if (rules_.size() > kMaxRules)
        return fail(ErrorCode::kLimit, waiting_.back().second.front().place, "the schema needs more than {} rules",
                    kMaxRules);
      const auto [rule, set] = std::move(waiting_.back());
      waiting_.pop_back();
      LAMINA_ASSIGN(const std::vector<SchemaSet> ways, expand(set));
      std::vector<Part> parts;
      for (const SchemaSet& way : ways) LAMINA_CHECK_OK(add_way(way, parts));
      grammar_.define(rule, grammar_.choice(std::move(parts)));
    }
    return {};
  }

  Part text_part(std::optional<Automaton> automaton) {
    const Part inside = grammar_.characters(automaton ? std::move(*automaton) : any_text(), Spelling::kJsonString);
    return grammar_.sequence({grammar_.bytes("\""), inside, grammar_.bytes("\"")});
  }

 private:
  static constexpr size_t kMaxRules = 20'000;

  Status add_way(const SchemaSet& way, std::vector<Part>& parts) {
    LAMINA_ASSIGN(const auto values, values_of(way));
    if (values) return add_values(way, *values, parts);
    unsigned types = kAnyType;
    for (const SchemaItem& item : way) types &= types_of(*item.schema);
    if ((types & kNull) != 0) parts.push_back(grammar_.bytes("null"));
    if ((types & kBoolean) != 0) {
      parts.push_back(grammar_.bytes("true"));
      parts.push_back(grammar_.bytes("false"));
    }
    if ((types & (kWhole | kBroken)) != 0) {
      LAMINA_ASSIGN(const Part number, number_part(way, (types & kBroken) == 0));
      parts.push_back(number);
    }
    if ((types & kString) != 0) {
      LAMINA_ASSIGN(const Part text, string_part(way));
      parts.push_back(text);
    }
    if ((types & kArray) != 0) {
      LAMINA_ASSIGN(const Part array, array_part(way));
      parts.push_back(array);
    }
    if ((types & kObject) != 0) {
      LAMINA_ASSIGN(const Part object, object_part(grammar_, *this, way));
      parts.push_back(object);
    }
    return {};
  }

  Status add_values(const SchemaSet& way, const std::vector<SchemaJson>& values, std::vector<Part>& parts) {
    for (const SchemaItem& item : way) {
      for (const char* keyword : kBesideEnum) {
        if (item.schema->contains(keyword))
          return fail(ErrorCode::kUnsupported, item.place + "/" + keyword,
                      "it cannot go with enum or const; leave it out");
      }
    }
    for (const SchemaJson& value : values) parts.push_back(literal(value));
    return {};
  }

  Part literal(const SchemaJson& value) {
    if (value.empty() || !value.is_structured())
      return grammar_.bytes(value.dump(-1, ' ', false, SchemaJson::error_handler_t::replace));
    std::vector<Part> parts{grammar_.bytes(value.is_object() ? "{" : "["), space()};
    bool first = true;
    for (const auto& [name, inner] : value.items()) {
      if (!std::exchange(first, false)) {
        parts.push_back(grammar_.bytes(","));
        parts.push_back(space());
      }
      if (value.is_object()) {
        parts.push_back(grammar_.bytes(json_text(name) + ":"));
        parts.push_back(space());
      }
      parts.push_back(literal(inner));
    }
    parts.push_back(space());
    parts.push_back(grammar_.bytes(value.is_object() ? "}" : "]"));
    return grammar_.sequence(std::move(parts));
  }

  static void narrow(std::optional<NumberBound>& bound, const Json& value, bool exclusive, bool lower) {
    const double mine = value.get<double>();
    const double now = bound ? Json::parse(bound->value).get<double>() : 0;
    const bool tighter = !bound || (lower ? mine > now : mine < now) || (mine == now && exclusive);
    if (tighter) bound = NumberBound{.value = value.dump(), .exclusive = exclusive};
  }

  Result<Part> number_part(const SchemaSet& way, bool whole) {
    NumberLimits limits{.integer = whole};
    for (const SchemaItem& item : way) {
      const Json& schema = *item.schema;
      if (schema.contains("minimum")) narrow(limits.least, schema["minimum"], false, true);
      if (schema.contains("exclusiveMinimum")) narrow(limits.least, schema["exclusiveMinimum"], true, true);
      if (schema.contains("maximum")) narrow(limits.most, schema["maximum"], false, false);
      if (schema.contains("exclusiveMaximum")) narrow(limits.most, schema["exclusiveMaximum"], true, false);
      if (!schema.contains("multipleOf")) continue;
      const Json& divisor = schema["multipleOf"];
      if (type_of(divisor) != kWhole || limits.multiple_of > 1 || divisor.get<double>() > 512 ||
          divisor.get<double>() < 1)
        return fail(ErrorCode::kUnsupported, item.place + "/multipleOf",
                    "found {}; one whole number from 1 to 512 expected", divisor.dump());
      limits.multiple_of = static_cast<int64_t>(divisor.get<double>());
      limits.integer = true;
    }
    auto automaton = number_automaton(limits);
    if (!automaton) {
      core::Error error = automaton.error();
      const std::string keyword = std::exchange(error.place, "");
      return at_place(error, place_of(way, keyword.empty() ? "multipleOf" : keyword.c_str()));
    }
    return grammar_.characters(std::move(*automaton), Spelling::kPlain);
  }

  Result<Part> string_part(const SchemaSet& way) {
    LAMINA_ASSIGN(std::optional<Automaton> automaton, string_automaton(way));
    if (automaton) return text_part(std::move(automaton));
    const auto low = greatest(way, "minLength");
    const auto high = least(way, "maxLength");
    if (!low && !high) return text_part({});
    if (high && low.value_or(0) > *high) return grammar_.choice({});
    const Part inside = grammar_.repeat(grammar_.characters(one_character(), Spelling::kJsonString), low.value_or(0),
                                        high.value_or(-1));
    return grammar_.sequence({grammar_.bytes("\""), inside, grammar_.bytes("\"")});
  }

  /// The schemas of the item at a place of the list; -1: of those behind all that have a place.
  static SchemaSet item_schemas(const SchemaSet& way, int64_t index) {
    SchemaSet out;
    for (const SchemaItem& item : way) {
      const auto prefix = item.schema->find("prefixItems");
      if (prefix != item.schema->end() && index >= 0 && index < std::ssize(*prefix)) {
        SchemaItem one = below(item, "prefixItems", (*prefix)[static_cast<size_t>(index)]);
        one.place += fmt::format("/{}", index);
        out.push_back(std::move(one));
      } else if (item.schema->contains("items")) {
        out.push_back(below(item, "items", item.schema->at("items")));
      }
    }
    return out;
  }

  Result<Part> array_part(const SchemaSet& way) {
    const int64_t low = greatest(way, "minItems").value_or(0);
    const auto high = least(way, "maxItems");
    if (high && low > *high) return grammar_.choice({});
    int64_t prefix = 0;
    for (const SchemaItem& item : way) {
      if (item.schema->contains("prefixItems")) prefix = std::max(prefix, std::ssize(item.schema->at("prefixItems")));
    }
    if (high) prefix = std::min(prefix, *high);
    if (prefix > kMaxPrefix)
      return fail(ErrorCode::kLimit, place_of(way, "prefixItems"), "{} schemas; at most {} expected", prefix,
                  kMaxPrefix);
    // From the last place to the first: what may follow behind so many items.
    const Part comma = grammar_.sequence({grammar_.bytes(","), space()});
    const Part rest = value(item_schemas(way, -1));
    const int64_t more_low = std::max<int64_t>(low - prefix, 0);
    const int64_t more_high = high ? *high - prefix : -1;
    Part tail = space();
    if (prefix > 0) {
      tail = grammar_.sequence({grammar_.repeat(grammar_.sequence({comma, rest}), more_low, more_high), tail});
    } else if (more_high != 0) {
      const Part others = grammar_.repeat(grammar_.sequence({comma, rest}), std::max<int64_t>(more_low - 1, 0),
                                          more_high < 0 ? -1 : more_high - 1);
      tail = grammar_.sequence({rest, others, tail});
      if (low == 0) tail = grammar_.choice({grammar_.sequence({}), tail});
    } else {
      tail = grammar_.sequence({});
    }
    for (int64_t i = prefix; i-- > 0;) {
      const Part item = value(item_schemas(way, i));
      tail = i == 0 ? grammar_.sequence({item, tail}) : grammar_.sequence({comma, item, tail});
      if (i < low) continue;
      tail = grammar_.choice({i == 0 ? grammar_.sequence({}) : space(), tail});
    }
    return grammar_.sequence({grammar_.bytes("["), space(), tail, grammar_.bytes("]")});
  }

  Grammar& grammar_;
  JsonGrammar& json_;
  std::map<std::vector<const Json*>, Grammar::Rule> rules_;
  std::vector<std::pair<Grammar::Rule, SchemaSet>> waiting_;
};

JsonGrammar::JsonGrammar(Grammar& grammar) : grammar_(grammar), schemas_(std::make_unique<Schemas>(grammar, *this)) {}
JsonGrammar::~JsonGrammar() = default;

Result<Part> JsonGrammar::add_schema(const Json& schema, const std::string& place) {
  if (!schema.is_object() && !schema.is_boolean())
    return fail(ErrorCode::kInvalid, place, "{} is no schema; an object expected", schema.type_name());
  const SchemaItem item{.schema = &schema, .document = &schema, .place = place + "#"};
  if (schema.is_boolean() && !schema.get<bool>()) return grammar_.choice({});
  return schemas_->value({item});
}

Status JsonGrammar::finish() {
  return schemas_->finish();
}

Part JsonGrammar::space() {
  if (space_ < 0) {
    space_ = grammar_.declare("space");
    Automaton blank{.states = {{.edges = {{'\t', '\t', 1}, {' ', ' ', 1}}}, {.accepts = true}}};
    const Part lines = grammar_.sequence(
        {grammar_.bytes("\n"), grammar_.repeat(grammar_.characters(std::move(blank), Spelling::kPlain), 0, 32)});
    grammar_.define(space_, grammar_.choice({grammar_.sequence({}), grammar_.bytes(" "), lines}));
  }
  return grammar_.rule(space_);
}

Part JsonGrammar::any_value() {
  if (value_ >= 0) return grammar_.rule(value_);
  value_ = grammar_.declare("value");
  const auto number = number_automaton({});
  const Part comma = grammar_.sequence({grammar_.bytes(","), space()});
  const Part item = grammar_.rule(value_);
  const Part items = grammar_.sequence({item, grammar_.repeat(grammar_.sequence({comma, item}), 0, -1), space()});
  const Part list = grammar_.sequence(
      {grammar_.bytes("["), space(), grammar_.choice({grammar_.sequence({}), items}), grammar_.bytes("]")});
  grammar_.define(value_, grammar_.choice({any_object(), list, schemas_->text_part({}),
                                           grammar_.characters(number.value_or(Automaton{}), Spelling::kPlain),
                                           grammar_.bytes("true"), grammar_.bytes("false"), grammar_.bytes("null")}));
  return grammar_.rule(value_);
}

Part JsonGrammar::any_object() {
  if (object_ >= 0) return grammar_.rule(object_);
  object_ = grammar_.declare("object");
  const Part pair = grammar_.sequence({schemas_->text_part({}), grammar_.bytes(":"), space(), any_value()});
  const Part comma = grammar_.sequence({grammar_.bytes(","), space()});
  const Part pairs = grammar_.sequence({pair, grammar_.repeat(grammar_.sequence({comma, pair}), 0, -1), space()});
  grammar_.define(object_, grammar_.sequence({grammar_.bytes("{"), space(),
                                              grammar_.choice({grammar_.sequence({}), pairs}), grammar_.bytes("}")}));
  return grammar_.rule(object_);
}

Result<Grammar> schema_grammar(const nlohmann::ordered_json& schema, const std::string& place) {
  Grammar grammar;
  JsonGrammar json(grammar);
  const Grammar::Rule root = grammar.declare("root");
  LAMINA_ASSIGN(const Part part, json.add_schema(schema, place));
  LAMINA_CHECK_OK(json.finish());
  grammar.define(root, part);
  grammar.root = root;
  return grammar;
}

Result<Grammar> json_object_grammar() {
  Grammar grammar;
  JsonGrammar json(grammar);
  const Grammar::Rule root = grammar.declare("root");
  grammar.define(root, json.any_object());
  grammar.root = root;
  return grammar;
}

}  // namespace lamina::text

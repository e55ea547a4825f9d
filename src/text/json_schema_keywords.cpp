#include <algorithm>
#include <array>
#include <cmath>

#include "text/json_schema_parts.h"

namespace lamina::text {
namespace {

using core::ErrorCode;
using core::fail;
using core::Status;

enum class Kind {
  kNote,
  kSchema,
  kSchemas,
  kNamedSchemas,
  kCount,
  kNumber,
  kText,
  kTexts,
  kFlag,
  kValues,
  kAny,
  kType
};

struct Keyword {
  std::string_view name;
  Kind kind;
};

constexpr std::array kKeywords{
    Keyword{"$schema", Kind::kNote},
    Keyword{"$id", Kind::kNote},
    Keyword{"$comment", Kind::kNote},
    Keyword{"title", Kind::kNote},
    Keyword{"description", Kind::kNote},
    Keyword{"default", Kind::kNote},
    Keyword{"example", Kind::kNote},
    Keyword{"examples", Kind::kNote},
    Keyword{"deprecated", Kind::kNote},
    Keyword{"readOnly", Kind::kNote},
    Keyword{"writeOnly", Kind::kNote},
    Keyword{"discriminator", Kind::kNote},
    Keyword{"contentEncoding", Kind::kNote},
    Keyword{"contentMediaType", Kind::kNote},
    Keyword{"$defs", Kind::kNamedSchemas},
    Keyword{"definitions", Kind::kNamedSchemas},
    Keyword{"$ref", Kind::kText},
    Keyword{"allOf", Kind::kSchemas},
    Keyword{"anyOf", Kind::kSchemas},
    Keyword{"oneOf", Kind::kSchemas},
    Keyword{"type", Kind::kType},
    Keyword{"enum", Kind::kValues},
    Keyword{"const", Kind::kAny},
    Keyword{"minLength", Kind::kCount},
    Keyword{"maxLength", Kind::kCount},
    Keyword{"pattern", Kind::kText},
    Keyword{"format", Kind::kText},
    Keyword{"minimum", Kind::kNumber},
    Keyword{"maximum", Kind::kNumber},
    Keyword{"exclusiveMinimum", Kind::kNumber},
    Keyword{"exclusiveMaximum", Kind::kNumber},
    Keyword{"multipleOf", Kind::kNumber},
    Keyword{"items", Kind::kSchema},
    Keyword{"prefixItems", Kind::kSchemas},
    Keyword{"minItems", Kind::kCount},
    Keyword{"maxItems", Kind::kCount},
    Keyword{"uniqueItems", Kind::kFlag},
    Keyword{"properties", Kind::kNamedSchemas},
    Keyword{"patternProperties", Kind::kNamedSchemas},
    Keyword{"additionalProperties", Kind::kSchema},
    Keyword{"propertyNames", Kind::kSchema},
    Keyword{"required", Kind::kTexts},
    Keyword{"minProperties", Kind::kCount},
    Keyword{"maxProperties", Kind::kCount},
};

/// Keywords of the specification whose rules cannot be kept to while writing.
constexpr std::array<std::string_view, 16> kRefused{
    "not",          "if",          "then",           "else",           "dependentRequired", "dependentSchemas",
    "dependencies", "contains",    "minContains",    "maxContains",    "unevaluatedItems",  "unevaluatedProperties",
    "$anchor",      "$dynamicRef", "$dynamicAnchor", "additionalItems"};

bool is_schema(const SchemaJson& value) {
  return value.is_object() || value.is_boolean();
}

bool fits(const SchemaJson& value, Kind kind) {
  const auto all = [&](auto&& each) { return std::ranges::all_of(value, each); };
  switch (kind) {
    case Kind::kNote:
    case Kind::kAny:
      return true;
    case Kind::kSchema:
      return is_schema(value);
    case Kind::kSchemas:
      return value.is_array() && !value.empty() && all(is_schema);
    case Kind::kNamedSchemas:
      return value.is_object() && all(is_schema);
    case Kind::kCount:
      return value.is_number() && value.get<double>() >= 0 && value.get<double>() <= 1e9 &&
             value.get<double>() == std::floor(value.get<double>());
    case Kind::kNumber:
      return value.is_number();
    case Kind::kText:
      return value.is_string();
    case Kind::kTexts:
      return value.is_array() && all([](const SchemaJson& one) { return one.is_string(); });
    case Kind::kFlag:
      return value.is_boolean();
    case Kind::kValues:
      return value.is_array() && !value.empty();
    case Kind::kType:
      return value.is_string() ||
             (value.is_array() && !value.empty() && all([](const SchemaJson& one) { return one.is_string(); }));
  }
  return false;
}

constexpr std::string_view kind_name(Kind kind) {
  constexpr std::array<std::string_view, 12> kNames{"a note",
                                                    "a schema",
                                                    "a list of schemas",
                                                    "an object of schemas",
                                                    "a whole number from 0 to 1000000000",
                                                    "a number",
                                                    "a text",
                                                    "a list of texts",
                                                    "true or false",
                                                    "a list of at least one value",
                                                    "a value",
                                                    "a type or a list of types"};
  return kNames[static_cast<size_t>(kind)];
}

struct NamedType {
  std::string_view name;
  unsigned bits;
};
constexpr std::array kTypes{NamedType{"null", kNull},     NamedType{"boolean", kBoolean},
                            NamedType{"integer", kWhole}, NamedType{"number", kWhole | kBroken},
                            NamedType{"string", kString}, NamedType{"array", kArray},
                            NamedType{"object", kObject}};

unsigned bits_of(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &NamedType::name);
  return found == kTypes.end() ? 0 : found->bits;
}

Status check_types(const SchemaJson& value, const std::string& place) {
  for (const SchemaJson& one : value.is_array() ? value : SchemaJson::array({value})) {
    if (bits_of(one.get_ref<const std::string&>()) == 0) {
      return fail(ErrorCode::kInvalid, place,
                  "found {}; null, boolean, integer, number, string, array or object expected", one.dump());
    }
  }
  return {};
}

std::string pointer(const std::string& keyword) {
  std::string out;
  for (const char c : keyword) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

SchemaItem below(const SchemaItem& item, const std::string& keyword, const SchemaJson& schema) {
  return {.schema = &schema, .document = item.document, .place = item.place + "/" + pointer(keyword)};
}

Status check_keywords(const SchemaItem& item) {
  for (const auto& [name, value] : item.schema->items()) {
    const std::string place = item.place + "/" + pointer(name);
    if (name.starts_with("x-")) continue;
    if (std::ranges::find(kRefused, name) != kRefused.end())
      return fail(ErrorCode::kUnsupported, place, "this keyword cannot be kept to while writing; leave it out");
    const auto known = std::ranges::find(kKeywords, name, &Keyword::name);
    if (known == kKeywords.end()) return fail(ErrorCode::kUnsupported, place, "this keyword is not known");
    if (name == "items" && value.is_array())
      return fail(ErrorCode::kUnsupported, place, "a list of schemas is called prefixItems");
    if (!fits(value, known->kind)) return fail(ErrorCode::kInvalid, place, "{} expected", kind_name(known->kind));
    if (known->kind == Kind::kType) LAMINA_CHECK_OK(check_types(value, place));
    if (name == "format" && format_pattern(value.get_ref<const std::string&>()).empty()) {
      return fail(ErrorCode::kUnsupported, place, "found {}; one of {} expected", value.dump(), format_names());
    }
    if (name == "uniqueItems" && value.get<bool>() && item.schema->value("maxItems", 2.0) > 1)
      return fail(ErrorCode::kUnsupported, place, "that items differ cannot be kept to while writing; leave it out");
  }
  return {};
}

unsigned types_of(const SchemaJson& schema) {
  const auto type = schema.find("type");
  if (type == schema.end()) return kAnyType;
  if (type->is_string()) return bits_of(type->get_ref<const std::string&>());
  unsigned bits = 0;
  for (const SchemaJson& one : *type) bits |= bits_of(one.get_ref<const std::string&>());
  return bits;
}

unsigned type_of(const SchemaJson& value) {
  if (value.is_null()) return kNull;
  if (value.is_boolean()) return kBoolean;
  if (value.is_number_integer()) return kWhole;
  if (value.is_number()) return value.get<double>() == std::floor(value.get<double>()) ? kWhole : kBroken;
  if (value.is_string()) return kString;
  return value.is_array() ? kArray : kObject;
}

std::optional<int64_t> greatest(const SchemaSet& set, const char* keyword) {
  std::optional<int64_t> out;
  for (const SchemaItem& item : set) {
    const auto found = item.schema->find(keyword);
    if (found != item.schema->end()) out = std::max(out.value_or(0), static_cast<int64_t>(found->get<double>()));
  }
  return out;
}

std::optional<int64_t> least(const SchemaSet& set, const char* keyword) {
  std::optional<int64_t> out;
  for (const SchemaItem& item : set) {
    const auto found = item.schema->find(keyword);
    if (found == item.schema->end()) continue;
    const auto value = static_cast<int64_t>(found->get<double>());
    out = std::min(out.value_or(value), value);
  }
  return out;
}

std::string place_of(const SchemaSet& set, const char* keyword) {
  for (const SchemaItem& item : set) {
    if (item.schema->contains(keyword)) return item.place + "/" + pointer(keyword);
  }
  return set.empty() ? "" : set.front().place;
}

std::unexpected<core::Error> at_place(const core::Error& error, const std::string& place) {
  return std::unexpected(core::Error{error.code, place, error.text()});
}

}  // namespace lamina::text

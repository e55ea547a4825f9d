#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "text/grammar.h"

namespace lamina::text {

using SchemaJson = nlohmann::ordered_json;

/// A schema and where it stands.
struct SchemaItem {
  const SchemaJson* schema = nullptr;
  const SchemaJson* document = nullptr;  ///< in which its references point
  std::string place;

  bool operator==(const SchemaItem& other) const { return schema == other.schema; }
};
/// Schemas that all must hold, by their addresses.
using SchemaSet = std::vector<SchemaItem>;

/// Types of JSON values, as bits; a number is whole or broken.
enum SchemaType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kWhole = 4,
  kBroken = 8,
  kString = 16,
  kArray = 32,
  kObject = 64
};
inline constexpr unsigned kAnyType = 127;

/// Whether every keyword of a schema object is known and has a value of its type.
core::Status check_keywords(const SchemaItem& item);
/// The types that "type" names; all without it.
unsigned types_of(const SchemaJson& schema);
unsigned type_of(const SchemaJson& value);

/// Alternatives of which each is a set of schema objects without references, allOf, anyOf and oneOf in them that were
/// not followed. Errors as JsonGrammar::add_schema().
core::Result<std::vector<SchemaSet>> expand(const SchemaSet& set);

/// The values of enum and const that all allow; nothing where none has them.
core::Result<std::optional<std::vector<SchemaJson>>> values_of(const SchemaSet& set);

/// Whether it is certain that no value keeps to all.
core::Result<bool> excludes_all(const SchemaSet& set, int depth = 0);

/// The pattern of a "format"; empty: not supported.
std::string_view format_pattern(std::string_view name);
std::string format_names();

/// The texts that pattern, format and the lengths allow, when there is a pattern or a format.
core::Result<std::optional<Automaton>> string_automaton(const SchemaSet& set);
/// The greatest of least values or the least of greatest ones.
std::optional<int64_t> greatest(const SchemaSet& set, const char* keyword);
std::optional<int64_t> least(const SchemaSet& set, const char* keyword);
/// The place of the first schema that has the keyword.
std::string place_of(const SchemaSet& set, const char* keyword);

/// `keyword` of a schema, and its place.
SchemaItem below(const SchemaItem& item, const std::string& keyword, const SchemaJson& schema);

/// Puts a place before an error's own.
std::unexpected<core::Error> at_place(const core::Error& error, const std::string& place);

}  // namespace lamina::text

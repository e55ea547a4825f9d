#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

/// Typed access to members of a JSON object: an absent or null member gives the fallback, another type is an error.
namespace lamina::text {

using nlohmann::json;

inline const json& member(const json& object, const char* name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

inline std::unexpected<core::Error> wrong_type(std::string_view place, const char* name, const char* expected,
                                               const json& value) {
  return core::fail(core::ErrorCode::kCorrupt, place, "\"{}\" is a JSON {}; {} expected", name, value.type_name(),
                    expected);
}

inline core::Result<bool> bool_field(const json& object, const char* name, bool fallback, std::string_view place) {
  const json& value = member(object, name);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) return wrong_type(place, name, "true or false", value);
  return value.get<bool>();
}

inline core::Result<std::string> string_field(const json& object, const char* name, std::string_view fallback,
                                              std::string_view place) {
  const json& value = member(object, name);
  if (value.is_null()) return std::string(fallback);
  if (!value.is_string()) return wrong_type(place, name, "a string", value);
  return value.get<std::string>();
}

inline core::Result<int64_t> int_field(const json& object, const char* name, int64_t fallback, std::string_view place) {
  const json& value = member(object, name);
  if (value.is_null()) return fallback;
  if (!value.is_number_integer()) return wrong_type(place, name, "an integer", value);
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return core::fail(core::ErrorCode::kCorrupt, place, "\"{}\" is {}; a 64-bit integer expected", name,
                      value.get<uint64_t>());
  }
  return value.get<int64_t>();
}

}  // namespace lamina::text

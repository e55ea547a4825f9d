#pragma once

#include "text/json_fields.h"
#include "text/pattern.h"

namespace lamina::text {

/// Reads {"Regex": ...}, {"String": ...} or a plain string (a literal).
inline core::Result<Pattern> make_pattern(const json& spec, std::string_view place) {
  if (spec.is_string()) return Pattern::literal(spec.get_ref<const std::string&>());
  const json& regex = member(spec, "Regex");
  if (regex.is_string()) return Pattern::regex(regex.get_ref<const std::string&>());
  const json& literal = member(spec, "String");
  if (literal.is_string()) return Pattern::literal(literal.get_ref<const std::string&>());
  return core::fail(core::ErrorCode::kCorrupt, place, "\"pattern\" must hold \"Regex\" or \"String\"");
}

}  // namespace lamina::text

#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "core/result.h"

namespace lamina::format {

inline constexpr int kMaxJsonDepth = 128;

/// Parses JSON that comes from outside. Never throws; refuses what is malformed (also invalid UTF-8), an object with
/// the same key twice, numbers that overflow, and more than kMaxJsonDepth levels of arrays and objects. `place` names
/// the source; errors are kCorrupt and say line and column.
core::Result<nlohmann::json> parse_json(std::string_view text, std::string_view place);

}  // namespace lamina::format

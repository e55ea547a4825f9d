#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lamina::format {

/// As parse_json(), but takes what Python's json module writes for infinities: Infinity and -Infinity as bare words, or
/// as {"__float__": "Infinity"}. They become +-1e308, a bound that nothing reaches.
core::Result<nlohmann::json> parse_python_json(std::string text, std::string_view place);

}  // namespace lamina::format

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lamina::text::jinja {

/// strftime() in the C locale of local time `unix_seconds`; unknown directives stay as they are. The result has at
/// most `limit` bytes.
std::string format_time(std::string_view format, int64_t unix_seconds, int64_t limit);

}  // namespace lamina::text::jinja

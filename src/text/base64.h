#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lamina::text {

/// Decodes standard base64 with or without padding; nothing if a character is not of its alphabet.
std::optional<std::string> decode_base64(std::string_view text);
/// Standard base64 with padding.
std::string encode_base64(std::string_view bytes);

}  // namespace lamina::text

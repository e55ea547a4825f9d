#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lamina::text {

/// The printable character that stands for `byte` in the vocabulary of a byte-level tokenizer: printable Latin-1 bytes
/// for themselves, the other 68 as U+0100.. in order (Radford et al. 2019, GPT-2).
char32_t byte_character(uint8_t byte);

/// The byte that `character` stands for, if it is one of the 256.
std::optional<uint8_t> character_byte(char32_t character);

/// Writes every byte of `bytes` as its character.
std::string to_byte_characters(std::string_view bytes);

/// The bytes that valid UTF-8 `text` stands for; nothing if one of its characters is not in the alphabet.
std::optional<std::string> from_byte_characters(std::string_view text);

/// The byte that a byte-fallback token "<0xNN>" (upper-case digits) stands for, if `token` is one.
std::optional<uint8_t> byte_token(std::string_view token);

}  // namespace lamina::text

#pragma once

#include <cstdint>

namespace lamina::text {

/// The number of the script that the reference's UnicodeScripts counts a character to, 0 for none: blanks and what its
/// older Unicode does not know. Kana count as Han.
uint8_t script_of(char32_t c);

}  // namespace lamina::text

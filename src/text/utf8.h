#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// UTF-8 and the character classes that tokenizers ask for. Every function but `valid_prefix`, `append_valid` and
/// `decode_any` expects valid UTF-8.
namespace lamina::text {

inline constexpr char32_t kReplacement = 0xFFFD;

/// One step of a decoder: the character (U+FFFD if broken) and how many bytes it took (at least 1).
struct Utf8Step {
  char32_t character = 0;
  uint32_t bytes = 0;
  bool valid = false;
  bool cut = false;  ///< broken only because the text ends inside the character
};

/// Decodes the character at the start of non-empty `text`. A broken one takes its maximal invalid part: the longest
/// start of a well-formed sequence (Unicode 15, section 3.9, U+FFFD substitution of maximal subparts).
Utf8Step decode_any(std::string_view text);

/// Bytes of the longest start of `text` that is valid UTF-8.
size_t valid_prefix(std::string_view text);

/// Appends `text` with each maximal invalid part replaced by U+FFFD, as errors="replace" does in Python.
void append_valid(std::string& out, std::string_view text);

/// Appends one character.
void append_utf8(std::string& out, char32_t character);

/// Bytes of the character that `lead` begins.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Decodes the character at `position` and moves past it.
inline char32_t next_character(std::string_view text, size_t& position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  if (lead < 0x80) {
    ++position;
    return lead;
  }
  const size_t length = utf8_length(text[position]);
  char32_t value = lead & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    value = (value << 6) | (static_cast<unsigned char>(text[position + i]) & 0x3F);
  }
  position += length;
  return value;
}

/// Start of the character that ends before `position` (> 0).
inline size_t previous_start(std::string_view text, size_t position) {
  do --position;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

/// Characters of `text`.
size_t count_characters(std::string_view text);

bool is_white_space(char32_t c);      ///< the Unicode property White_Space
bool is_numeric(char32_t c);          ///< general category N, Unicode 17
bool is_mark(char32_t c);             ///< general category M, as the reference's StripAccents has it
bool is_nonspacing_mark(char32_t c);  ///< general category Mn, Unicode 8, which BERT's normalizer still uses
/// What BERT's clean-up drops: general categories Cc, Cf, Co and Cs of Unicode 8; unassigned characters stay.
bool is_other(char32_t c);
bool is_punctuation(char32_t c);  ///< ASCII punctuation and symbols, or general category P of Unicode 8
bool is_word(char32_t c);         ///< \w of UTS 18: letters, marks, decimal digits, connectors, joiners
bool is_chinese(char32_t c);      ///< the CJK ideograph blocks that BERT sets apart

/// Appends the lower-case form of one character (full mapping, no context).
void append_lower(std::string& out, char32_t c);

}  // namespace lamina::text

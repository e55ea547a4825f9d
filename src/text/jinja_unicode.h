#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::text::jinja {

/// True if `text` is well-formed UTF-8 without surrogates.
bool is_utf8(std::string_view text);

/// Code points of well-formed UTF-8.
size_t count_points(std::string_view text);

/// Byte offset of code point number `index`; the size of `text` if it has no more than `index`.
size_t point_offset(std::string_view text, size_t index);

/// Decodes the code point at byte `at` of well-formed UTF-8 and moves `at` behind it.
int32_t next_point(std::string_view text, size_t& at);

/// Decodes the code point that ends before byte `end` and moves `end` to its start.
int32_t previous_point(std::string_view text, size_t& end);

/// Appends a code point as UTF-8. Surrogates and numbers above U+10FFFF must not be passed.
void append_point(std::string& text, int32_t point);

/// What Python's str.isspace() accepts, which is also its regular expressions' \s.
bool is_space(int32_t point);
/// What Python's repr() prints as it is.
bool is_printable(int32_t point);
bool is_alpha(int32_t point);
bool is_decimal(int32_t point);
/// str.isdigit(): decimals and superscript digits.
bool is_digit(int32_t point);
/// str.isnumeric(): anything with a numeric value.
bool is_numeric(int32_t point);
/// What str.isidentifier() accepts at the first place, and behind it.
bool begins_identifier(int32_t point);
bool continues_identifier(int32_t point);
/// str.isalnum(): letters and anything with a numeric value.
bool is_alnum(int32_t point);
/// Letters and what Unicode counts with them: Roman numerals, circled and raised letters.
bool is_upper(int32_t point);
bool is_lower(int32_t point);
bool is_title(int32_t point);

/// Case mappings of whole strings, with the common multi-character ones (Unicode SpecialCasing).
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
/// str.casefold().
std::string to_folded(std::string_view text);
/// str.title(): the first letter of each run of cased letters in title case.
std::string to_title(std::string_view text);
/// str.capitalize().
std::string to_capitalized(std::string_view text);
/// str.swapcase().
std::string to_swapped(std::string_view text);

/// str.splitlines(): pieces without their line ends, or with them if `keep`.
std::vector<std::string_view> split_lines(std::string_view text, bool keep);

/// Strips white space, or the code points of `chars` if given (not null), at the chosen sides.
std::string_view strip(std::string_view text, const std::string_view* chars, bool left, bool right);

}  // namespace lamina::text::jinja

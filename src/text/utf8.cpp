#include "text/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "text/unicode_tables.h"

namespace lamina::text {
namespace {

/// Bounds of the second byte for each lead byte: tighter than 80..BF where overlong forms, surrogates or values past
/// U+10FFFF would begin.
struct SecondByte {
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

SecondByte second_byte(uint8_t lead) {
  switch (lead) {
    case 0xE0:
      return {0xA0, 0xBF};
    case 0xED:
      return {0x80, 0x9F};
    case 0xF0:
      return {0x90, 0xBF};
    case 0xF4:
      return {0x80, 0x8F};
    default:
      return {};
  }
}

enum Flag : uint32_t { kNumeric = 1, kMark = 2, kNonspacing = 4, kPunctuation = 8, kWord = 16, kOther = 32 };

constexpr uint32_t kBlockBits = 6;

/// Where the runs of each block of 64 characters begin, so that a look-up reads a run or two.
const std::array<uint16_t, (0x110000 >> kBlockBits)>& run_index() {
  static const auto index = [] {
    std::array<uint16_t, (0x110000 >> kBlockBits)> out{};
    size_t run = 0;
    for (size_t block = 0; block < out.size(); ++block) {
      while (run + 1 < std::size(tables::kFlagRuns) && tables::kFlagRuns[run + 1].first <= block << kBlockBits) ++run;
      out[block] = static_cast<uint16_t>(run);
    }
    return out;
  }();
  return index;
}

bool has_flag(char32_t c, Flag flag) {
  size_t run = run_index()[c >> kBlockBits];
  while (run + 1 < std::size(tables::kFlagRuns) && tables::kFlagRuns[run + 1].first <= c) ++run;
  return (tables::kFlagRuns[run].flags & flag) != 0;
}

}  // namespace

Utf8Step decode_any(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {lead, 1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {kReplacement, 1, false, false};
  const uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const SecondByte second = second_byte(lead);
  char32_t value = lead & (0xFFU >> (length + 1));
  for (uint32_t i = 1; i < length; ++i) {
    if (i >= text.size()) return {kReplacement, i, false, true};
    const auto byte = static_cast<uint8_t>(text[i]);
    const SecondByte bounds = i == 1 ? second : SecondByte{};
    if (byte < bounds.low || byte > bounds.high) return {kReplacement, i, false, false};
    value = (value << 6) | (byte & 0x3F);
  }
  return {value, length, true, false};
}

size_t valid_prefix(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    if (position + 8 <= text.size()) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + position, 8);
      if ((word & 0x8080808080808080ULL) == 0) {
        position += 8;
        continue;
      }
    }
    const Utf8Step step = decode_any(text.substr(position));
    if (!step.valid) return position;
    position += step.bytes;
  }
  return position;
}

void append_valid(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const size_t good = valid_prefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return;
    text.remove_prefix(decode_any(text).bytes);
    out.append("\xEF\xBF\xBD");
  }
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  return has_flag(c, kNumeric);
}

bool is_mark(char32_t c) {
  return has_flag(c, kMark);
}

bool is_nonspacing_mark(char32_t c) {
  return has_flag(c, kNonspacing);
}

bool is_other(char32_t c) {
  return has_flag(c, kOther);
}

bool is_punctuation(char32_t c) {
  return has_flag(c, kPunctuation);
}

bool is_word(char32_t c) {
  return has_flag(c, kWord);
}

bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  } else if (c == 0x130) {
    out.append("i\xCC\x87");  // the only character whose unconditional lower-case form has two characters
  } else {
    const auto* known = std::ranges::lower_bound(tables::kLowerCases, c, {}, &tables::CasePair::upper);
    const bool later = known != std::end(tables::kLowerCases) && known->upper == c;
    append_utf8(out, later ? known->lower : static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

}  // namespace lamina::text

#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include <array>

namespace lamina::text::jinja {
namespace {

struct Special {
  int32_t point;
  const char* upper;
  const char* title;
};

// Unicode SpecialCasing.txt, unconditional mappings of Latin, Greek and Armenian small letters.
constexpr std::array kSpecial = {
    Special{0x00DF, "SS", "Ss"},
    Special{0x0149, "\u02BCN", "\u02BCN"},
    Special{0x01F0, "J\u030C", "J\u030C"},
    Special{0x0390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    Special{0x03B0, "\u03A5\u0308\u0301", "\u03A5\u0308\u0301"},
    Special{0x0587, "\u0535\u0552", "\u0535\u0582"},
    Special{0x1E96, "H\u0331", "H\u0331"},
    Special{0x1E97, "T\u0308", "T\u0308"},
    Special{0x1E98, "W\u030A", "W\u030A"},
    Special{0x1E99, "Y\u030A", "Y\u030A"},
    Special{0x1E9A, "A\u02BE", "A\u02BE"},
    Special{0xFB00, "FF", "Ff"},
    Special{0xFB01, "FI", "Fi"},
    Special{0xFB02, "FL", "Fl"},
    Special{0xFB03, "FFI", "Ffi"},
    Special{0xFB04, "FFL", "Ffl"},
    Special{0xFB05, "ST", "St"},
    Special{0xFB06, "ST", "St"},
};

const Special* special(int32_t point) {
  if (point < 0xDF) return nullptr;
  for (const Special& row : kSpecial) {
    if (row.point == point) return &row;
  }
  return nullptr;
}

utf8proc_category_t category(int32_t point) {
  return utf8proc_category(point);
}

void append_upper(std::string& out, int32_t point) {
  if (const Special* row = special(point)) {
    out += row->upper;
  } else {
    append_point(out, utf8proc_toupper(point));
  }
}

void append_title(std::string& out, int32_t point) {
  if (const Special* row = special(point)) {
    out += row->title;
  } else {
    append_point(out, utf8proc_totitle(point));
  }
}

bool is_cased(int32_t point) {
  const auto kind = category(point);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT;
}

bool is_case_ignorable(int32_t point) {
  switch (category(point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return point == '\'' || point == '.' || point == ':' || point == 0xB7 || point == 0x2019;
  }
}

// A capital sigma becomes a final one after a letter and before no letter.
bool is_final_sigma(std::string_view text, size_t start, size_t end) {
  int32_t before = 0;
  while (start > 0) {
    before = previous_point(text, start);
    if (!is_case_ignorable(before)) break;
    before = 0;
  }
  if (before == 0 || !is_cased(before)) return false;
  while (end < text.size()) {
    const int32_t after = next_point(text, end);
    if (!is_case_ignorable(after)) return !is_cased(after);
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t start, size_t end, int32_t point) {
  if (point == 0x0130) {
    out += "i\u0307";
  } else if (point == 0x03A3 && is_final_sigma(text, start, end)) {
    out += "\u03C2";
  } else {
    append_point(out, utf8proc_tolower(point));
  }
}

bool is_line_end(int32_t point) {
  return (point >= 0x0A && point <= 0x0D) || (point >= 0x1C && point <= 0x1E) || point == 0x85 || point == 0x2028 ||
         point == 0x2029;
}

bool in_set(int32_t point, const std::string_view* chars) {
  if (chars == nullptr) return is_space(point);
  for (size_t at = 0; at < chars->size();) {
    if (next_point(*chars, at) == point) return true;
  }
  return false;
}

}  // namespace

bool is_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  for (utf8proc_ssize_t at = 0; at < size;) {
    if (bytes[at] < 0x80) {
      ++at;
      continue;
    }
    utf8proc_int32_t point = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(bytes + at, size - at, &point);
    if (used <= 0) return false;
    at += used;
  }
  return true;
}

size_t count_points(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

size_t point_offset(std::string_view text, size_t index) {
  size_t at = 0;
  while (at < text.size()) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) {
      if (index == 0) return at;
      --index;
    }
    ++at;
  }
  return text.size();
}

int32_t next_point(std::string_view text, size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) {
    ++at;
    return lead;
  }
  utf8proc_int32_t point = 0;
  const utf8proc_ssize_t used = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                                 static_cast<utf8proc_ssize_t>(text.size() - at), &point);
  if (used <= 0) {
    ++at;
    return 0xFFFD;
  }
  at += static_cast<size_t>(used);
  return point;
}

int32_t previous_point(std::string_view text, size_t& end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  size_t at = end;
  return next_point(text, at);
}

void append_point(std::string& text, int32_t point) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t used = utf8proc_encode_char(point, bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(used));
}

bool is_space(int32_t point) {
  if (point < 0x80) return (point >= 9 && point <= 13) || (point >= 28 && point <= 32);
  return point == 0x85 || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 ||
         point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

bool is_printable(int32_t point) {
  if (point < 0x7F) return point >= 0x20;
  switch (category(point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(int32_t point) {
  return is_cased(point) || category(point) == UTF8PROC_CATEGORY_LM || category(point) == UTF8PROC_CATEGORY_LO;
}

bool is_decimal(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(int32_t point) {
  return is_decimal(point) || point == 0xB2 || point == 0xB3 || point == 0xB9 || point == 0x2070 ||
         (point >= 0x2074 && point <= 0x2079) || (point >= 0x2080 && point <= 0x2089) ||
         (point >= 0x2460 && point <= 0x2468);
}

bool is_alnum(int32_t point) {
  return is_alpha(point) || is_decimal(point) || category(point) == UTF8PROC_CATEGORY_NL ||
         category(point) == UTF8PROC_CATEGORY_NO;
}

bool is_upper(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LU;
}
bool is_lower(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LL || point == 0xAA || point == 0xBA;
}
bool is_title(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LT;
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) append_upper(out, next_point(text, at));
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int32_t point = next_point(text, at);
    append_lower(out, text, start, at, point);
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int32_t point = next_point(text, at);
    if (inside) {
      append_lower(out, text, start, at, point);
    } else {
      append_title(out, point);
    }
    inside = is_cased(point);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int32_t point = next_point(text, at);
    if (start == 0) {
      append_title(out, point);
    } else {
      append_lower(out, text, start, at, point);
    }
  }
  return out;
}

std::string to_swapped(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int32_t point = next_point(text, at);
    if (is_upper(point)) {
      append_lower(out, text, start, at, point);
    } else if (is_lower(point)) {
      append_upper(out, point);
    } else {
      append_point(out, point);
    }
  }
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const int32_t point = next_point(text, at);
    if (!is_line_end(point)) continue;
    if (point == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (keep ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string_view strip(std::string_view text, const std::string_view* chars, bool left, bool right) {
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end) {
    size_t at = begin;
    if (!in_set(next_point(text, at), chars)) break;
    begin = at;
  }
  while (right && end > begin) {
    size_t at = end;
    if (!in_set(previous_point(text, at), chars)) break;
    end = at;
  }
  return text.substr(begin, end - begin);
}

}  // namespace lamina::text::jinja

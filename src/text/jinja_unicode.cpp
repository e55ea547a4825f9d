#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>

namespace lamina::text::jinja {
namespace {

struct Special {
  int32_t point;
  const char* upper;
  const char* title;
};

// Unicode SpecialCasing.txt, unconditional mappings of small letters.
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
    Special{0x1F50, "\u03A5\u0313", "\u03A5\u0313"},
    Special{0x1F52, "\u03A5\u0313\u0300", "\u03A5\u0313\u0300"},
    Special{0x1F54, "\u03A5\u0313\u0301", "\u03A5\u0313\u0301"},
    Special{0x1F56, "\u03A5\u0313\u0342", "\u03A5\u0313\u0342"},
    Special{0x1F80, "\u1F08\u0399", "\u1F88"},
    Special{0x1F81, "\u1F09\u0399", "\u1F89"},
    Special{0x1F82, "\u1F0A\u0399", "\u1F8A"},
    Special{0x1F83, "\u1F0B\u0399", "\u1F8B"},
    Special{0x1F84, "\u1F0C\u0399", "\u1F8C"},
    Special{0x1F85, "\u1F0D\u0399", "\u1F8D"},
    Special{0x1F86, "\u1F0E\u0399", "\u1F8E"},
    Special{0x1F87, "\u1F0F\u0399", "\u1F8F"},
    Special{0x1F88, "\u1F08\u0399", "\u1F88"},
    Special{0x1F89, "\u1F09\u0399", "\u1F89"},
    Special{0x1F8A, "\u1F0A\u0399", "\u1F8A"},
    Special{0x1F8B, "\u1F0B\u0399", "\u1F8B"},
    Special{0x1F8C, "\u1F0C\u0399", "\u1F8C"},
    Special{0x1F8D, "\u1F0D\u0399", "\u1F8D"},
    Special{0x1F8E, "\u1F0E\u0399", "\u1F8E"},
    Special{0x1F8F, "\u1F0F\u0399", "\u1F8F"},
    Special{0x1F90, "\u1F28\u0399", "\u1F98"},
    Special{0x1F91, "\u1F29\u0399", "\u1F99"},
    Special{0x1F92, "\u1F2A\u0399", "\u1F9A"},
    Special{0x1F93, "\u1F2B\u0399", "\u1F9B"},
    Special{0x1F94, "\u1F2C\u0399", "\u1F9C"},
    Special{0x1F95, "\u1F2D\u0399", "\u1F9D"},
    Special{0x1F96, "\u1F2E\u0399", "\u1F9E"},
    Special{0x1F97, "\u1F2F\u0399", "\u1F9F"},
    Special{0x1F98, "\u1F28\u0399", "\u1F98"},
    Special{0x1F99, "\u1F29\u0399", "\u1F99"},
    Special{0x1F9A, "\u1F2A\u0399", "\u1F9A"},
    Special{0x1F9B, "\u1F2B\u0399", "\u1F9B"},
    Special{0x1F9C, "\u1F2C\u0399", "\u1F9C"},
    Special{0x1F9D, "\u1F2D\u0399", "\u1F9D"},
    Special{0x1F9E, "\u1F2E\u0399", "\u1F9E"},
    Special{0x1F9F, "\u1F2F\u0399", "\u1F9F"},
    Special{0x1FA0, "\u1F68\u0399", "\u1FA8"},
    Special{0x1FA1, "\u1F69\u0399", "\u1FA9"},
    Special{0x1FA2, "\u1F6A\u0399", "\u1FAA"},
    Special{0x1FA3, "\u1F6B\u0399", "\u1FAB"},
    Special{0x1FA4, "\u1F6C\u0399", "\u1FAC"},
    Special{0x1FA5, "\u1F6D\u0399", "\u1FAD"},
    Special{0x1FA6, "\u1F6E\u0399", "\u1FAE"},
    Special{0x1FA7, "\u1F6F\u0399", "\u1FAF"},
    Special{0x1FA8, "\u1F68\u0399", "\u1FA8"},
    Special{0x1FA9, "\u1F69\u0399", "\u1FA9"},
    Special{0x1FAA, "\u1F6A\u0399", "\u1FAA"},
    Special{0x1FAB, "\u1F6B\u0399", "\u1FAB"},
    Special{0x1FAC, "\u1F6C\u0399", "\u1FAC"},
    Special{0x1FAD, "\u1F6D\u0399", "\u1FAD"},
    Special{0x1FAE, "\u1F6E\u0399", "\u1FAE"},
    Special{0x1FAF, "\u1F6F\u0399", "\u1FAF"},
    Special{0x1FB2, "\u1FBA\u0399", "\u1FBA\u0345"},
    Special{0x1FB3, "\u0391\u0399", "\u1FBC"},
    Special{0x1FB4, "\u0386\u0399", "\u0386\u0345"},
    Special{0x1FB6, "\u0391\u0342", "\u0391\u0342"},
    Special{0x1FB7, "\u0391\u0342\u0399", "\u0391\u0342\u0345"},
    Special{0x1FBC, "\u0391\u0399", "\u1FBC"},
    Special{0x1FC2, "\u1FCA\u0399", "\u1FCA\u0345"},
    Special{0x1FC3, "\u0397\u0399", "\u1FCC"},
    Special{0x1FC4, "\u0389\u0399", "\u0389\u0345"},
    Special{0x1FC6, "\u0397\u0342", "\u0397\u0342"},
    Special{0x1FC7, "\u0397\u0342\u0399", "\u0397\u0342\u0345"},
    Special{0x1FCC, "\u0397\u0399", "\u1FCC"},
    Special{0x1FD2, "\u0399\u0308\u0300", "\u0399\u0308\u0300"},
    Special{0x1FD3, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    Special{0x1FD6, "\u0399\u0342", "\u0399\u0342"},
    Special{0x1FD7, "\u0399\u0308\u0342", "\u0399\u0308\u0342"},
    Special{0x1FE2, "\u03A5\u0308\u0300", "\u03A5\u0308\u0300"},
    Special{0x1FE3, "\u03A5\u0308\u0301", "\u03A5\u0308\u0301"},
    Special{0x1FE4, "\u03A1\u0313", "\u03A1\u0313"},
    Special{0x1FE6, "\u03A5\u0342", "\u03A5\u0342"},
    Special{0x1FE7, "\u03A5\u0308\u0342", "\u03A5\u0308\u0342"},
    Special{0x1FF2, "\u1FFA\u0399", "\u1FFA\u0345"},
    Special{0x1FF3, "\u03A9\u0399", "\u1FFC"},
    Special{0x1FF4, "\u038F\u0399", "\u038F\u0345"},
    Special{0x1FF6, "\u03A9\u0342", "\u03A9\u0342"},
    Special{0x1FF7, "\u03A9\u0342\u0399", "\u03A9\u0342\u0345"},
    Special{0x1FFC, "\u03A9\u0399", "\u1FFC"},
    Special{0xFB13, "\u0544\u0546", "\u0544\u0576"},
    Special{0xFB14, "\u0544\u0535", "\u0544\u0565"},
    Special{0xFB15, "\u0544\u053B", "\u0544\u056B"},
    Special{0xFB16, "\u054E\u0546", "\u054E\u0576"},
    Special{0xFB17, "\u0544\u053D", "\u0544\u056D"},
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

struct Points {
  int32_t first;
  int32_t last;
};

/// Unicode's Other_Lowercase and Other_Uppercase: letter-like points that are no letters with a case.
constexpr Points kOtherLower[] = {
    {0x00AA, 0x00AA}, {0x00BA, 0x00BA}, {0x02B0, 0x02B8},   {0x02C0, 0x02C1},   {0x02E0, 0x02E4},   {0x0345, 0x0345},
    {0x037A, 0x037A}, {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},
    {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};
constexpr Points kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
/// Letters that spell numbers.
constexpr int32_t kNumberLetters[] = {
    0x3405,  0x3483,  0x382A,  0x3B4D,  0x4E00,  0x4E03,  0x4E07,  0x4E09,  0x4E5D,  0x4E8C,  0x4E94,  0x4E96,
    0x4EBF,  0x4EC0,  0x4EDF,  0x4EE8,  0x4F0D,  0x4F70,  0x5104,  0x5146,  0x5169,  0x516B,  0x516D,  0x5341,
    0x5343,  0x5344,  0x5345,  0x534C,  0x53C1,  0x53C2,  0x53C3,  0x53C4,  0x56DB,  0x58F1,  0x58F9,  0x5E7A,
    0x5EFE,  0x5EFF,  0x5F0C,  0x5F0D,  0x5F0E,  0x5F10,  0x62FE,  0x634C,  0x67D2,  0x6F06,  0x7396,  0x767E,
    0x8086,  0x842C,  0x8CAE,  0x8CB3,  0x8D30,  0x9621,  0x9646,  0x964C,  0x9678,  0x96F6,  0xF96B,  0xF973,
    0xF978,  0xF9B2,  0xF9D1,  0xF9D3,  0xF9FD,  0x20001, 0x20064, 0x200E2, 0x20121, 0x2092A, 0x20983, 0x2098C,
    0x2099C, 0x20AEA, 0x20AFD, 0x20B19, 0x22390, 0x22998, 0x23B1B, 0x2626D, 0x2F890};

bool is_one_of(std::span<const Points> rows, int32_t point) {
  return std::any_of(rows.begin(), rows.end(),
                     [&](const Points& row) { return row.first <= point && point <= row.last; });
}

bool is_letter_with_case(int32_t point) {
  const auto kind = category(point);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT;
}

bool is_cased(int32_t point) {
  return is_upper(point) || is_lower(point) || is_title(point);
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
  return is_letter_with_case(point) || category(point) == UTF8PROC_CATEGORY_LM ||
         category(point) == UTF8PROC_CATEGORY_LO;
}

bool is_decimal(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(int32_t point) {
  return is_decimal(point) || point == 0xB2 || point == 0xB3 || point == 0xB9 || point == 0x2070 ||
         (point >= 0x2074 && point <= 0x2079) || (point >= 0x2080 && point <= 0x2089) ||
         (point >= 0x2460 && point <= 0x2468);
}

bool is_numeric(int32_t point) {
  return is_decimal(point) || category(point) == UTF8PROC_CATEGORY_NL || category(point) == UTF8PROC_CATEGORY_NO ||
         std::find(std::begin(kNumberLetters), std::end(kNumberLetters), point) != std::end(kNumberLetters);
}

bool is_alnum(int32_t point) {
  return is_alpha(point) || is_numeric(point);
}

bool begins_identifier(int32_t point) {
  constexpr Points kNot[] = {{0x037A, 0x037A}, {0x0E33, 0x0E33}, {0x0EB3, 0x0EB3}, {0x2E2F, 0x2E2F}, {0xFC5E, 0xFC63},
                             {0xFDFA, 0xFDFB}, {0xFE70, 0xFE70}, {0xFE72, 0xFE72}, {0xFE74, 0xFE74}, {0xFE76, 0xFE76},
                             {0xFE78, 0xFE78}, {0xFE7A, 0xFE7A}, {0xFE7C, 0xFE7C}, {0xFE7E, 0xFE7E}, {0xFF9E, 0xFF9F}};
  if (point == '_' || point == 0x1885 || point == 0x1886 || point == 0x2118 || point == 0x212E) return true;
  return (is_alpha(point) || category(point) == UTF8PROC_CATEGORY_NL) && !is_one_of(kNot, point);
}

bool continues_identifier(int32_t point) {
  if (begins_identifier(point) || point == 0xFF9E || point == 0xFF9F || point == 0x0E33 || point == 0x0EB3) return true;
  if (point == 0xB7 || point == 0x387 || (point >= 0x1369 && point <= 0x1371) || point == 0x19DA) return true;
  const auto kind = category(point);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ND ||
         kind == UTF8PROC_CATEGORY_PC;
}

bool is_upper(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LU || is_one_of(kOtherUpper, point);
}
bool is_lower(int32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LL || is_one_of(kOtherLower, point);
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

std::string to_folded(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t points[8];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(next_point(text, at), points, std::ssize(points), UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < std::min<utf8proc_ssize_t>(count, std::ssize(points)); ++i) {
      append_point(out, points[i]);
    }
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

#include "text/jinja_time.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

#include "text/jinja_limits.h"
#include "text/jinja_print.h"

namespace lamina::text::jinja {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {"January",   "February", "March",    "April",
                                                      "May",       "June",     "July",     "August",
                                                      "September", "October",  "November", "December"};

int twelve(int hour) {
  return hour % 12 == 0 ? 12 : hour % 12;
}

// ISO 8601 week: the week that has the year's first Thursday is number 1.
std::pair<int, int> iso_week(const std::tm& t) {
  const int weekday = (t.tm_wday + 6) % 7;
  const int thursday = t.tm_yday - weekday + 3;
  const auto days = [](int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 366 : 365; };
  const int year = t.tm_year + 1900;
  if (thursday < 0) return {year - 1, (thursday + days(year - 1)) / 7 + 1};
  if (thursday >= days(year)) return {year + 1, 1};
  return {year, thursday / 7 + 1};
}

// A number of fixed width; the flags "-" and "_" of the GNU library drop or blank its leading zeros.
std::string padded(int value, int width, char fill, char flag) {
  if (flag == '-') return std::to_string(value);
  if (flag == '_') fill = ' ';
  if (flag == '0') fill = '0';
  return fill == '0' ? fmt::format("{:0{}}", value, width) : fmt::format("{:>{}}", value, width);
}

std::string number_directive(char directive, const std::tm& t, char flag) {
  switch (directive) {
    case 'd':
      return padded(t.tm_mday, 2, '0', flag);
    case 'e':
      return padded(t.tm_mday, 2, ' ', flag);
    case 'm':
      return padded(t.tm_mon + 1, 2, '0', flag);
    case 'y':
      return padded(t.tm_year % 100, 2, '0', flag);
    case 'C':
      return padded((t.tm_year + 1900) / 100, 2, '0', flag);
    case 'Y':
      return std::to_string(t.tm_year + 1900);
    case 'H':
      return padded(t.tm_hour, 2, '0', flag);
    case 'k':
      return padded(t.tm_hour, 2, ' ', flag);
    case 'I':
      return padded(twelve(t.tm_hour), 2, '0', flag);
    case 'l':
      return padded(twelve(t.tm_hour), 2, ' ', flag);
    case 'M':
      return padded(t.tm_min, 2, '0', flag);
    case 'S':
      return padded(t.tm_sec, 2, '0', flag);
    case 'f':
      return "000000";
    case 'j':
      return padded(t.tm_yday + 1, 3, '0', flag);
    case 'u':
      return std::to_string(t.tm_wday == 0 ? 7 : t.tm_wday);
    case 'w':
      return std::to_string(t.tm_wday);
    case 'U':
      return padded((t.tm_yday + 7 - t.tm_wday) / 7, 2, '0', flag);
    case 'W':
      return padded((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7, 2, '0', flag);
    case 'V':
      return padded(iso_week(t).second, 2, '0', flag);
    case 'G':
      return std::to_string(iso_week(t).first);
    default:
      return {};
  }
}

// Directives that stand for other ones.
std::string_view expansion(char directive) {
  switch (directive) {
    case 'D':
    case 'x':
      return "%m/%d/%y";
    case 'F':
      return "%Y-%m-%d";
    case 'T':
    case 'X':
      return "%H:%M:%S";
    case 'R':
      return "%H:%M";
    case 'r':
      return "%I:%M:%S %p";
    case 'c':
      return "%a %b %e %H:%M:%S %Y";
    default:
      return {};
  }
}

std::string text_directive(char directive, const std::tm& t) {
  switch (directive) {
    case 'a':
      return std::string(kDays[static_cast<size_t>(t.tm_wday)].substr(0, 3));
    case 'A':
      return std::string(kDays[static_cast<size_t>(t.tm_wday)]);
    case 'b':
    case 'h':
      return std::string(kMonths[static_cast<size_t>(t.tm_mon)].substr(0, 3));
    case 'B':
      return std::string(kMonths[static_cast<size_t>(t.tm_mon)]);
    case 'p':
      return t.tm_hour < 12 ? "AM" : "PM";
    case 'P':
      return t.tm_hour < 12 ? "am" : "pm";
    case 'n':
      return "\n";
    case 't':
      return "\t";
    case '%':
      return "%";
    default:
      return {};
  }
}

void write(std::string_view format, const std::tm& t, BoundedText& out) {
  for (size_t at = 0; at < format.size();) {
    if (format[at] != '%' || at + 1 >= format.size()) {
      out.append(format[at++]);
      continue;
    }
    size_t end = at + 1;
    const char flag = std::string_view("-_0").find(format[end]) != std::string_view::npos ? format[end++] : '\0';
    const char directive = end < format.size() ? format[end] : '\0';
    std::string piece = number_directive(directive, t, flag);
    if (piece.empty()) piece = text_directive(directive, t);
    const bool zone = directive == 'Z' || directive == 'z';  // a naive date has none
    if (!piece.empty()) {
      out.append(piece);
    } else if (const std::string_view longer = expansion(directive); !longer.empty()) {
      write(longer, t, out);
    } else if (!zone) {
      out.append(format.substr(at, end + 1 - at));
    }
    at = std::min(end + 1, format.size());
  }
}

}  // namespace

std::string format_time(std::string_view format, int64_t unix_seconds, int64_t limit) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm local{};
  constexpr int64_t kMaxSeconds = 1'000'000'000'000;  // the year 33658
  if (unix_seconds < -kMaxSeconds || unix_seconds > kMaxSeconds) raise("the time {} is out of range", unix_seconds);
  if (localtime_r(&seconds, &local) == nullptr) raise("the time {} is out of range", unix_seconds);
  BoundedText out(limit);
  write(format, local, out);
  return out.take();
}

}  // namespace lamina::text::jinja

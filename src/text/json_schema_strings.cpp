#include <algorithm>
#include <array>

#include "text/json_schema_parts.h"
#include "text/regex.h"

namespace lamina::text {
namespace {

using core::Result;

struct Format {
  std::string_view name;
  std::string_view pattern;
};

/// Patterns that allow only what the format means (RFC 3339, 4122, 5321, 2673, 1123), not all of it: years from 1000 to
/// 2999, no leap seconds, plain local parts.
constexpr std::string_view kDate =
    "((([12][0-9]{3})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2["
    "0-8])))|(([12][0-9](0[48]|[2468][048]|[13579][26])|(12|16|20|24|28)00)-02-29))";
constexpr std::string_view kTime =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
constexpr std::string_view kDateTime = "D T";  // both of them around a T, put together below
constexpr std::array kFormats{
    Format{"date", kDate},
    Format{"time", kTime},
    Format{"date-time", kDateTime},
    Format{"duration",
           "P([0-9]{1,4}W|[0-9]{1,4}Y([0-9]{1,4}M([0-9]{1,4}D)?)?|[0-9]{1,4}M([0-9]{1,4}D)?|[0-9]{1,4}D|([0-9]{1,4}D)?"
           "T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S))"},
    Format{"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    Format{"ipv4", "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"},
    Format{"hostname",
           "[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?){0,5}"},
    Format{"email",
           "[a-zA-Z0-9_+-]+(\\.[a-zA-Z0-9_+-]+)*@[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([a-zA-Z0-9-"
           "]{0,30}[a-zA-Z0-9])?){1,5}"},
    Format{"uri",
           "[a-zA-Z][a-zA-Z0-9+.-]*:(//[a-zA-Z0-9.-]+(:[0-9]{1,4})?)?(/"
           "[a-zA-Z0-9._~!$&'()*+,;=:@-]*)*(\\?[a-zA-Z0-9._~!$&'()*+,;=:@/?-]*)?(#[a-zA-Z0-9._~!$&'()*+,;=:@/?-]*)?"},
};

core::Status narrow(std::optional<Automaton>& all, const Automaton& one, const std::string& place) {
  if (!all) {
    all = one;
    return {};
  }
  auto both = intersect(*all, one);
  if (!both) return at_place(both.error(), place);
  all = std::move(*both);
  return {};
}

}  // namespace

std::string_view format_pattern(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, &Format::name);
  return found == kFormats.end() ? std::string_view() : found->pattern;
}

std::string format_names() {
  std::string out;
  for (const Format& format : kFormats) out += (out.empty() ? "" : ", ") + std::string(format.name);
  return out;
}

Result<std::optional<Automaton>> string_automaton(const SchemaSet& set) {
  std::optional<Automaton> out;
  for (const SchemaItem& item : set) {
    for (const char* keyword : {"pattern", "format"}) {
      const auto found = item.schema->find(keyword);
      if (found == item.schema->end()) continue;
      const bool format = std::string_view(keyword) == "format";
      std::string pattern = found->get<std::string>();
      if (format) pattern = format_pattern(pattern);
      if (pattern == kDateTime && format) pattern = fmt::format("{}T{}", kDate, kTime);
      const std::string place = item.place + "/" + keyword;
      auto one = compile_regex(pattern, format ? RegexUse::kWhole : RegexUse::kSearch);
      if (!one) return at_place(one.error(), place);
      LAMINA_CHECK_OK(narrow(out, *one, place));
    }
  }
  if (!out) return out;
  const auto low = greatest(set, "minLength");
  const auto high = least(set, "maxLength");
  if (low || high) {
    const std::string place = place_of(set, low ? "minLength" : "maxLength");
    if (high && low.value_or(0) > *high) return Automaton{};
    auto lengths = repeated_characters({{0, kLastCharacter}}, low.value_or(0), high.value_or(-1));
    if (!lengths) return at_place(lengths.error(), place);
    LAMINA_CHECK_OK(narrow(out, *lengths, place));
  }
  return out;
}

}  // namespace lamina::text

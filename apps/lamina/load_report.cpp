#include "lamina/load_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "lamina/table.h"

namespace lamina::app {

using nlohmann::ordered_json;

namespace {

constexpr std::pair<const char*, double> kPercentiles[] = {
    {"p50", 0.50}, {"p90", 0.90}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1.0}};

bool is_good(const LoadResult& one, const LoadLimits& limits) {
  const auto within = [](double value, double limit) { return limit == 0 || value <= limit; };
  const double worst = one.gaps.empty() ? 0 : std::ranges::max(one.gaps);
  return one.ok() && within(one.first, limits.first_seconds) && within(worst, limits.gap_seconds) &&
         within(one.end, limits.end_seconds);
}

ordered_json row_of(const LoadResult& one) {
  ordered_json row{{"due", one.due},
                   {"sent_late", one.sent},
                   {"status", one.status},
                   {"first_token", one.first < 0 ? ordered_json() : ordered_json(one.first)},
                   {"end_to_end", one.end},
                   {"worst_gap", one.gaps.empty() ? ordered_json() : ordered_json(std::ranges::max(one.gaps))},
                   {"prompt_tokens", one.prompt_tokens},
                   {"cached_tokens", one.cached_tokens},
                   {"output_tokens", one.output_tokens}};
  if (!one.ok()) row["error"] = one.error;
  return row;
}

}  // namespace

ordered_json distribution(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto count = static_cast<double>(values.size());
  ordered_json out{{"mean", std::accumulate(values.begin(), values.end(), 0.0) / count}};
  for (const auto& [name, share] : kPercentiles)
    out[name] = values[static_cast<size_t>(std::max(0.0, std::ceil(share * count) - 1))];
  return out;
}

ordered_json load_report(std::span<const LoadResult> results, double seconds, const LoadLimits& limits, bool each) {
  std::vector<double> first;
  std::vector<double> gaps;
  std::vector<double> ends;
  std::vector<double> late;
  std::map<std::string, int64_t> errors;
  int64_t good = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  for (const LoadResult& one : results) {
    late.push_back(one.sent);
    if (!one.ok()) {
      ++errors[one.error];
      continue;
    }
    good += is_good(one, limits) ? 1 : 0;
    prompt_tokens += one.prompt_tokens;
    output_tokens += one.output_tokens;
    if (one.first >= 0) first.push_back(one.first);
    gaps.insert(gaps.end(), one.gaps.begin(), one.gaps.end());
    ends.push_back(one.end);
  }
  const auto rate = [&](int64_t count) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; };
  const auto answered = static_cast<int64_t>(ends.size());
  ordered_json out{{"seconds", seconds},
                   {"requests", results.size()},
                   {"answered", answered},
                   {"errors", errors},
                   {"prompt_tokens", prompt_tokens},
                   {"output_tokens", output_tokens},
                   {"requests_per_second", rate(answered)},
                   {"prompt_tokens_per_second", rate(prompt_tokens)},
                   {"output_tokens_per_second", rate(output_tokens)},
                   {"good", good},
                   {"goodput", rate(good)},
                   {"first_token", distribution(std::move(first))},
                   {"token_gap", distribution(std::move(gaps))},
                   {"end_to_end", distribution(std::move(ends))},
                   {"sent_late", distribution(std::move(late))}};
  if (each) {
    out["each"] = ordered_json::array();
    for (const LoadResult& one : results) out["each"].push_back(row_of(one));
  }
  return out;
}

std::string load_text(const ordered_json& report) {
  const auto number = [&](const char* name) { return report[name].get<double>(); };
  std::string text = fmt::format(
      "{} of {} requests answered in {:.1f} s: {:.2f} requests/s ({:.2f} good), {:.1f} tokens/s written, {:.1f} read\n",
      report["answered"].get<int64_t>(), report["requests"].get<int64_t>(), number("seconds"),
      number("requests_per_second"), number("goodput"), number("output_tokens_per_second"),
      number("prompt_tokens_per_second"));
  Table table({"milliseconds", ">mean", ">p50", ">p90", ">p95", ">p99", ">max"});
  for (const char* name : {"first_token", "token_gap", "end_to_end", "sent_late"}) {
    if (report[name].is_null()) continue;
    std::vector<std::string> cells{name};
    std::ranges::replace(cells.front(), '_', ' ');
    for (const auto& [key, value] : report[name].items())
      cells.push_back(fmt::format("{:.1f}", 1e3 * value.get<double>()));
    table.add(std::move(cells));
  }
  text += table.text();
  for (const auto& [error, count] : report["errors"].items())
    text += fmt::format("{} times: {}\n", count.get<int64_t>(), error);
  return text;
}

}  // namespace lamina::app

#include "lamina/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "layers/linear.h"

namespace lamina::app {

namespace {

using layers::OpSum;

/// A tensor's name without the layer's number and what comes before it: blk.3.attn_q.weight is attn_q.
std::string short_name(const std::string& name) {
  std::string_view rest = name;
  if (rest.ends_with(".weight")) rest.remove_suffix(7);
  size_t begin = 0;
  for (size_t i = 0; i < rest.size();) {
    const size_t dot = std::min(rest.find('.', i), rest.size());
    const std::string_view word = rest.substr(i, dot - i);
    if (dot < rest.size() && !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; }))
      begin = dot + 1;
    i = dot + 1;
  }
  return std::string(rest.substr(begin));
}

std::string matrix_names(const layers::OpEvent& event) {
  std::string names;
  for (const layers::Linear* matrix : event.matrices) {
    if (matrix != nullptr) names += (names.empty() ? "" : "+") + short_name(matrix->name());
  }
  return names;
}

/// What an operation reached, as parts of what the machine was measured to reach.
struct Shares {
  double time = 0;
  double bandwidth = 0;
  double peak = 0;
};

Shares shares_of(const OpSum& sum, double total, const run::MachinePeaks& peaks) {
  if (sum.seconds <= 0 || total <= 0) return {};
  const layers::OpCost& cost = sum.what.cost;
  const double arithmetic =
      static_cast<double>(cost.int8) / peaks.best_int8() + static_cast<double>(cost.float32) / peaks.float32;
  return {.time = sum.seconds / total,
          .bandwidth = static_cast<double>(cost.bytes) / peaks.read_bytes / sum.seconds,
          .peak = arithmetic / sum.seconds};
}

std::string percent_or_dash(double share) {
  return share > 0 ? fmt::format("{:.1f} %", 100 * share) : "-";
}

/// Sums of the same operation on matrices of the same name, over all layers, the longest first.
std::vector<std::pair<std::string, OpSum>> by_operation(const layers::StepSums& sums) {
  std::map<std::string, OpSum> all;
  for (const OpSum& sum : sums.operations) {
    const std::string names = matrix_names(sum.what);
    std::string title(names.empty() ? layers::op_name(sum.what.op) : "product");
    title += " " + (names.empty() ? "(" + std::string(sum.what.role) + ")" : names);
    OpSum& into = all[title];
    into.calls += sum.calls;
    into.seconds += sum.seconds;
    into.what.cost += sum.what.cost;
  }
  std::vector<std::pair<std::string, OpSum>> sorted(all.begin(), all.end());
  std::ranges::sort(sorted, [](const auto& a, const auto& b) {
    return a.second.seconds != b.second.seconds ? a.second.seconds > b.second.seconds : a.first < b.first;
  });
  return sorted;
}

void print_operations(const layers::StepSums& sums, const run::MachinePeaks& peaks, std::FILE* out) {
  fmt::print(out, "  {:<40} {:>8} {:>10} {:>8} {:>10} {:>8}\n", "operation", "calls", "ms", "time", "bandwidth",
             "peak");
  const auto steps = static_cast<double>(sums.steps);
  for (const auto& [title, sum] : by_operation(sums)) {
    const Shares shares = shares_of(sum, sums.seconds, peaks);
    fmt::print(out, "  {:<40} {:>8.0f} {:>10.3f} {:>8} {:>10} {:>8}\n", title, static_cast<double>(sum.calls) / steps,
               1e3 * sum.seconds / steps, percent_or_dash(shares.time), percent_or_dash(shares.bandwidth),
               percent_or_dash(shares.peak));
  }
}

/// Milliseconds of a step by visit, and by part within each.
void print_visits(const layers::StepSums& sums, std::FILE* out) {
  struct Visit {
    int layer = -1;
    std::map<std::string_view, double> parts;
    double seconds = 0;
  };
  std::map<int, Visit> visits;
  std::vector<std::string_view> roles;
  for (const OpSum& sum : sums.operations) {
    if (sum.what.visit < 0) continue;
    if (std::ranges::find(roles, sum.what.role) == roles.end()) roles.push_back(sum.what.role);
    Visit& visit = visits[sum.what.visit];
    visit.layer = sum.what.layer;
    visit.parts[sum.what.role] += sum.seconds;
    visit.seconds += sum.seconds;
  }
  fmt::print(out, "\n  {:>5} {:>5}", "visit", "layer");
  for (const std::string_view role : roles) fmt::print(out, " {:>10}", fmt::format("{} ms", role));
  fmt::print(out, " {:>10} {:>8}\n", "ms", "time");
  const double scale = 1e3 / static_cast<double>(sums.steps);
  for (const auto& [index, visit] : visits) {
    fmt::print(out, "  {:>5} {:>5}", index, visit.layer);
    for (const std::string_view role : roles) {
      const auto part = visit.parts.find(role);
      fmt::print(out, " {:>10.3f}", part == visit.parts.end() ? 0.0 : scale * part->second);
    }
    fmt::print(out, " {:>10.3f} {:>8}\n", scale * visit.seconds, percent_or_dash(visit.seconds / sums.seconds));
  }
}

}  // namespace

void print_profile(const layers::StepSums& sums, const run::MachinePeaks& peaks, std::FILE* out) {
  if (sums.steps == 0) return;
  print_operations(sums, peaks, out);
  print_visits(sums, out);
  std::fflush(out);
}

nlohmann::ordered_json profile_json(const layers::StepSums& sums, const run::MachinePeaks& peaks) {
  nlohmann::ordered_json operations = nlohmann::ordered_json::array();
  const auto steps = static_cast<double>(std::max<int64_t>(sums.steps, 1));
  for (const OpSum& sum : sums.operations) {
    const Shares shares = shares_of(sum, sums.seconds, peaks);
    const layers::OpCost& cost = sum.what.cost;
    nlohmann::ordered_json row{{"visit", nullptr},
                               {"layer", nullptr},
                               {"part", sum.what.role},
                               {"operation", layers::op_name(sum.what.op)},
                               {"matrices", matrix_names(sum.what)},
                               {"calls", static_cast<double>(sum.calls) / steps},
                               {"ms", 1e3 * sum.seconds / steps},
                               {"share", shares.time},
                               {"bytes", static_cast<double>(cost.bytes) / steps},
                               {"operations", static_cast<double>(cost.int8 + cost.float32) / steps},
                               {"bandwidth_share", shares.bandwidth},
                               {"peak_share", shares.peak}};
    if (sum.what.visit >= 0) {
      row["visit"] = sum.what.visit;
      row["layer"] = sum.what.layer;
    }
    operations.push_back(std::move(row));
  }
  return {{"steps", sums.steps}, {"step_ms", 1e3 * sums.seconds / steps}, {"operations", std::move(operations)}};
}

void add_profile_options(CLI::App& command, bool& profile, std::string& trace) {
  command.add_flag("--profile", profile,
                   "where the time goes: by operation and layer, with shares of what the machine reaches");
  command.add_option("--trace", trace, "write the last steps as a trace that Perfetto and chrome://tracing open")
      ->type_name("F.json");
}

void Trace::add(const std::string& name, const layers::Profile& profile) {
  events_.push_back({{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", ++rows_}, {"args", {{"name", name}}}});
  if (profile.events().empty()) return;
  const auto begin = profile.events().front().begin;
  const auto microseconds = [](std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e3; };
  for (const layers::OpEvent& event : profile.events()) {
    const std::string names = matrix_names(event);
    events_.push_back({{"name", names.empty() ? std::string(layers::op_name(event.op)) : names},
                       {"cat", event.role},
                       {"ph", "X"},
                       {"pid", 1},
                       {"tid", rows_},
                       {"ts", microseconds(event.begin - begin)},
                       {"dur", microseconds(event.end - event.begin)},
                       {"args", {{"layer", event.layer}, {"visit", event.visit}, {"bytes", event.cost.bytes}}}});
  }
}

core::Status Trace::write(const std::string& path) const {
  std::ofstream file(path);
  file << nlohmann::ordered_json{{"traceEvents", events_}, {"displayTimeUnit", "ms"}}.dump() << '\n';
  file.close();
  if (file) return {};
  return core::fail(core::ErrorCode::kIo, path, "the trace cannot be written");
}

}  // namespace lamina::app

#include "lamina/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "eval/summary.h"
#include "lamina/cli.h"
#include "lamina/table.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using Json = nlohmann::ordered_json;

namespace {

/// What tells one composition from another.
std::string name_of(const Json& row) {
  return fmt::format("{}\n{}\n{}", row.value("model", ""), row.value("recipe", ""), row.value("activations", ""));
}

/// A row of bench for each recipe that its report has.
Status add_bench_rows(const Json& report, std::vector<ComparisonRow>& rows) {
  const size_t first = rows.size();
  for (const Json& test : report.at("rows")) {
    if (test.at("depth") != 0 || test.at("batch") != 1) continue;
    const std::string recipe = test.at("recipe");
    auto row = std::find_if(rows.begin() + static_cast<std::ptrdiff_t>(first), rows.end(),
                            [&](const Json& one) { return one.at("recipe") == recipe; });
    if (row == rows.end()) {
      rows.push_back({{"model", report.at("model")}, {"recipe", recipe}, {"activations", report.at("activations")}});
      row = std::prev(rows.end());
    }
    const char* key = test.at("test").get<std::string>().starts_with("pp") ? "read_tps" : "write_tps";
    if (!row->contains(key)) (*row)[key] = test.at("median_tps");
  }
  return {};
}

/// The rows of one object of a file.
Status add_rows(const Json& object, const std::string& place, std::vector<ComparisonRow>& rows) {
  const auto wrong = [&] {
    return fail(ErrorCode::kCorrupt, place,
                "is no report; what `lamina eval --json` or `lamina bench --json` wrote expected");
  };
  try {
    if (!object.is_object()) return wrong();
    if (!object.contains("rows")) {
      if (!object.contains("model") || !object.contains("recipe")) return wrong();
      rows.push_back(object);
      return {};
    }
    if (object.contains("model")) return add_bench_rows(object, rows);
    for (const Json& row : object.at("rows")) LAMINA_CHECK_OK(add_rows(row, place, rows));
    return {};
  } catch (const Json::exception& error) {
    return wrong();
  }
}

/// An error unless both rows were measured on the same.
Status check_same(const Json& first, const Json& row) {
  const auto differ = [&](std::string_view what) {
    return fail(ErrorCode::kInvalid, what, "{} and {} were measured on different ones", first.value("model", ""),
                row.value("model", ""));
  };
  if (first.contains("text_checksum") && row.contains("text_checksum") &&
      first["text_checksum"] != row["text_checksum"])
    return differ("text");
  if (!first.contains("tasks") || !row.contains("tasks")) return {};
  for (const auto& [name, task] : row["tasks"].items()) {
    if (first["tasks"].contains(name) && first["tasks"][name].value("checksum", "") != task.value("checksum", ""))
      return differ(fmt::format("task {}", name));
  }
  return {};
}

/// Adds what `row` says to the row of the same composition.
Status merge(const Json& row, Json& into) {
  for (const auto& [key, value] : row.items()) {
    if (!into.contains(key)) {
      into[key] = value;
    } else if (into[key] != value && key != "model" && key != "recipe") {
      return fail(ErrorCode::kInvalid, key, "two rows of {} {} give it", row.value("model", ""),
                  row.value("recipe", ""));
    }
  }
  return {};
}

eval::Windows matches_of(const Json& task) {
  eval::Windows windows;
  for (const char letter : task.at("matches").get<std::string>()) {
    const double match = letter == '1' ? 1 : 0;
    windows.add({&match, 1});
  }
  return windows;
}

/// "figure", with `digits` behind the point; "" where the row lacks it.
std::string cell(const Json& row, const std::string& key, int digits) {
  return row.contains(key) && row.at(key).is_number() ? fmt::format("{:.{}f}", row.at(key).get<double>(), digits) : "";
}

struct Column {
  std::string key;
  std::string title;
  double scale = 1;
  int digits = 0;
};

const std::vector<Column>& columns() {
  static const std::vector<Column> kColumns{{"file_bytes", ">file MB", 1e-6, 1},
                                            {"bytes_per_token", ">read MB", 1e-6, 1},
                                            {"read_tps", ">reads/s", 1, 0},
                                            {"write_tps", ">writes/s", 1, 1},
                                            {"ppl", ">PPL", 1, 3},
                                            {"ln_ppl_ratio", ">ln ratio", 1, 4},
                                            {"kl_mean", ">KL", 1, 4},
                                            {"kl_p99", ">KL 99 %", 1, 3},
                                            {"top1_agreement", ">agree", 1, 4}};
  return kColumns;
}

/// "0.83 (-0.04 [-0.07, -0.01])": the share, and the difference from the first row.
std::string task_cell(const Json& row, const std::string& name) {
  if (!row.contains("tasks") || !row["tasks"].contains(name)) return "";
  const Json& task = row["tasks"][name];
  std::string share = cell(task, "exact_match", 3);
  if (!task.contains("difference")) return share;
  const Json& range = task["difference_ci95"];
  const std::string interval =
      range.is_array() ? fmt::format(" [{:+.3f}, {:+.3f}]", range[0].get<double>(), range[1].get<double>()) : "";
  return fmt::format("{} ({:+.3f}{})", share, task["difference"].get<double>(), interval);
}

std::vector<std::string> task_names(const std::vector<ComparisonRow>& rows) {
  std::vector<std::string> names;
  for (const Json& row : rows) {
    if (!row.contains("tasks")) continue;
    for (const auto& [name, task] : row["tasks"].items())
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

}  // namespace

Result<std::vector<ComparisonRow>> read_rows(const std::string& path) {
  LAMINA_ASSIGN(const std::string text, read_file(path));
  std::vector<ComparisonRow> rows;
  const Json whole = Json::parse(text, nullptr, false);
  if (!whole.is_discarded()) {
    LAMINA_CHECK_OK(add_rows(whole, path, rows));
    return rows;
  }
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = fmt::format("{}, line {}", path, number);
    const Json object = Json::parse(line, nullptr, false);
    LAMINA_CHECK_OK(add_rows(object, place, rows));
  }
  if (rows.empty()) return fail(ErrorCode::kCorrupt, path, "has no rows");
  return rows;
}

Result<std::vector<ComparisonRow>> join_rows(std::vector<ComparisonRow> rows) {
  std::vector<ComparisonRow> joined;
  for (ComparisonRow& row : rows) {
    for (const ComparisonRow& other : joined) LAMINA_CHECK_OK(check_same(other, row));
    const auto same = std::ranges::find(joined, name_of(row), name_of);
    if (same == joined.end()) {
      joined.push_back(std::move(row));
    } else {
      LAMINA_CHECK_OK(merge(row, *same));
    }
  }
  return joined;
}

Status add_differences(std::vector<ComparisonRow>& rows) {
  for (size_t i = 1; i < rows.size(); ++i) {
    for (const std::string& name : task_names({rows[i]})) {
      if (!rows[0].contains("tasks") || !rows[0]["tasks"].contains(name)) continue;
      const Json& first = rows[0]["tasks"][name];
      Json& task = rows[i]["tasks"][name];
      if (!first.contains("matches") || !task.contains("matches")) continue;
      LAMINA_ASSIGN(const eval::Estimate difference, eval::mean_difference(matches_of(task), matches_of(first)));
      task["difference"] = difference.value;
      task["difference_ci95"] = nullptr;
      if (difference.interval) task["difference_ci95"] = {difference.interval->low, difference.interval->high};
    }
  }
  return {};
}

std::string comparison_table(const std::vector<ComparisonRow>& rows) {
  std::vector<std::string> titles{"model", "recipe"};
  std::vector<Column> kept;
  for (const Column& column : columns()) {
    if (std::ranges::none_of(rows, [&](const Json& row) { return !cell(row, column.key, 0).empty(); })) continue;
    kept.push_back(column);
    titles.push_back(column.title);
  }
  const std::vector<std::string> tasks = task_names(rows);
  for (const std::string& name : tasks) titles.push_back(name);
  Table table(titles);
  for (const Json& row : rows) {
    std::vector<std::string> cells{std::filesystem::path(row.value("model", "")).filename().string(),
                                   row.value("recipe", "")};
    for (const Column& column : kept) {
      const bool known = !cell(row, column.key, 0).empty();
      cells.push_back(known ? fmt::format("{:.{}f}", row[column.key].get<double>() * column.scale, column.digits) : "");
    }
    for (const std::string& name : tasks) cells.push_back(task_cell(row, name));
    table.add(std::move(cells));
  }
  return table.text();
}

}  // namespace lamina::app

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/result.h"

namespace lamina::app {

/// What `lamina eval --json` and `lamina bench --json` say of one model under one recipe.
using ComparisonRow = nlohmann::ordered_json;

/// The rows of a file that eval or bench wrote with --json: one object, {"rows": [...]}, or one object a line. Those of
/// bench become {model, recipe, read_tps, write_tps}: the first test of reading and of generating, at depth 0 and one
/// sequence. kCorrupt: not such a file, with the line.
core::Result<std::vector<ComparisonRow>> read_rows(const std::string& path);

/// Joins rows of one model and recipe (quality and speed), in the order of their first. kInvalid: rows that were
/// measured on different texts or task files, with their models; a figure that two rows give.
core::Result<std::vector<ComparisonRow>> join_rows(std::vector<ComparisonRow> rows);

/// Adds to each row but the first, for each task that both have, how much larger its share of right answers is than the
/// first row's, with the interval of a bootstrap over the items, paired: `tasks.NAME.difference`.
core::Status add_differences(std::vector<ComparisonRow>& rows);

/// One line a row, a column for every figure that some row has.
std::string comparison_table(const std::vector<ComparisonRow>& rows);

/// A point of a plot; less of both is better.
struct PlotPoint {
  double x = 0;
  double y = 0;
};
/// Indices of the points that no other point beats in one measure without losing in the other, by rising x.
std::vector<size_t> pareto_front(const std::vector<PlotPoint>& points);

/// An SVG picture of the rows: quality against bytes that a token reads and, where rows have it, against the time that
/// generating a token takes; rows that no other row beats in both are marked and joined. Quality is the divergence from
/// the reference where every row has it, else perplexity. kInvalid: fewer than two rows have these figures.
core::Result<std::string> comparison_plot(const std::vector<ComparisonRow>& rows);

}  // namespace lamina::app

// Rows of eval and bench side by side.
#include "lamina/comparison.h"

#include <gtest/gtest.h>

#include <fstream>

#include "app/temporary_folder.h"

namespace lamina::app {
namespace {

using Json = nlohmann::ordered_json;

Json row(const std::string& model, const std::string& recipe, double bytes, double divergence) {
  return {{"model", model},        {"recipe", recipe},       {"activations", "int8"}, {"bytes_per_token", bytes},
          {"text_checksum", "a1"}, {"ppl", 10 + divergence}, {"kl_mean", divergence}};
}

TEST(Comparison, TheFrontHoldsWhatNothingBeats) {
  EXPECT_EQ(pareto_front({{1, 5}, {2, 3}, {3, 4}, {4, 1}, {4, 2}}), (std::vector<size_t>{0, 1, 3}));
  EXPECT_EQ(pareto_front({{1, 1}, {1, 1}, {1, 2}}), (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(pareto_front({}).empty());
}

TEST(Comparison, RowsOfOneCompositionAreJoined) {
  Json speed{{"model", "m"}, {"recipe", "r"}, {"activations", "int8"}, {"write_tps", 20.0}};
  const auto joined = join_rows({row("m", "", 8, 0), row("m", "r", 4, 0.5), speed});
  ASSERT_TRUE(joined);
  ASSERT_EQ(joined->size(), 2U);
  EXPECT_EQ((*joined)[1]["write_tps"], 20.0);
  EXPECT_EQ((*joined)[1]["kl_mean"], 0.5);
  speed["activations"] = "f32";
  EXPECT_EQ(join_rows({row("m", "r", 4, 0.5), speed})->size(), 2U);
  EXPECT_FALSE(join_rows({row("m", "r", 4, 0.5), row("m", "r", 4, 0.6)}));
}

TEST(Comparison, OtherTextsAndTasksAreRefused) {
  Json other = row("n", "", 8, 0);
  other["text_checksum"] = "b2";
  const auto texts = join_rows({row("m", "", 8, 0), other});
  ASSERT_FALSE(texts);
  EXPECT_EQ(texts.error().text(), "text: m and n were measured on different ones");
  Json first = row("m", "", 8, 0);
  Json second = row("n", "", 8, 0);
  first["tasks"]["sums"] = {{"checksum", "1"}};
  second["tasks"]["sums"] = {{"checksum", "2"}};
  EXPECT_FALSE(join_rows({first, second}));
}

TEST(Comparison, DifferencesArePairedItemByItem) {
  std::vector<ComparisonRow> rows{row("m", "", 8, 0), row("m", "r", 4, 0.5)};
  rows[0]["tasks"]["sums"] = {{"exact_match", 0.5}, {"matches", "11110000"}};
  rows[1]["tasks"]["sums"] = {{"exact_match", 0.375}, {"matches", "11010000"}};
  ASSERT_TRUE(add_differences(rows));
  EXPECT_FALSE(rows[0]["tasks"]["sums"].contains("difference"));
  const Json& task = rows[1]["tasks"]["sums"];
  EXPECT_DOUBLE_EQ(task["difference"], -0.125);
  // Unpaired, the interval would reach well above 0.
  EXPECT_DOUBLE_EQ(task["difference_ci95"][1], 0);
  EXPECT_LT(task["difference_ci95"][0], -0.125);
  EXPECT_NE(comparison_table(rows).find("0.375 (-0.125 ["), std::string::npos);
  rows[1]["tasks"]["sums"]["matches"] = "11";
  EXPECT_FALSE(add_differences(rows));
}

TEST(Comparison, FilesOfBothCommandsAreRead) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(folder.path() / name) << text;
    return (folder.path() / name).string();
  };
  const auto bench = read_rows(write("bench.json", R"({"model": "m", "activations": "int8", "rows": [
    {"test": "pp64", "depth": 0, "batch": 1, "median_tps": 100, "recipe": "r"},
    {"test": "tg8", "depth": 64, "batch": 1, "median_tps": 5, "recipe": "r"},
    {"test": "tg8", "depth": 0, "batch": 4, "median_tps": 6, "recipe": "r"},
    {"test": "tg8", "depth": 0, "batch": 1, "median_tps": 7, "recipe": "r"}]})"));
  ASSERT_TRUE(bench);
  ASSERT_EQ(bench->size(), 1U);
  EXPECT_EQ(bench->front().dump(), R"({"model":"m","recipe":"r","activations":"int8","read_tps":100,"write_tps":7})");
  const auto lines =
      read_rows(write("lines.json", row("m", "", 8, 0).dump() + "\n\n" + row("m", "r", 4, 1).dump() + "\n"));
  ASSERT_TRUE(lines);
  EXPECT_EQ(lines->size(), 2U);
  EXPECT_EQ(read_rows(write("rows.json", Json{{"rows", *lines}}.dump()))->size(), 2U);
  for (const char* wrong :
       {"", "[]", "{\"a\": 1}", "{\"model\": \"m\", \"rows\": [{}]}", "nonsense", "{\"rows\": 3}"}) {
    const auto read = read_rows(write("wrong.json", wrong));
    ASSERT_FALSE(read) << wrong;
    EXPECT_EQ(read.error().code, core::ErrorCode::kCorrupt) << wrong;
  }
}

TEST(Comparison, ThePlotShowsEveryRowAndMarksTheBest) {
  std::vector<ComparisonRow> rows{row("m", "", 8e6, 0), row("m", "L*:a<b", 4e6, 0.5), row("m", "worse", 5e6, 0.9)};
  const auto plot = comparison_plot(rows);
  ASSERT_TRUE(plot);
  const auto count = [&](std::string_view what) {
    size_t found = 0;
    for (size_t at = plot->find(what); at != std::string::npos; at = plot->find(what, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("class=\"best\""), 2U);
  EXPECT_EQ(count("class=\"other\""), 1U);
  EXPECT_EQ(count(">L*:a&lt;b</text>"), 1U);
  EXPECT_EQ(count("class=\"front\""), 1U);
  for (ComparisonRow& one : rows) one["write_tps"] = one["bytes_per_token"].get<double>() / 1e5;
  EXPECT_NE(comparison_plot(rows)->find("ms to generate a token"), std::string::npos);
  EXPECT_FALSE(comparison_plot({rows[0]}));
}

}  // namespace
}  // namespace lamina::app

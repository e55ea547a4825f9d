#include "stats/attention_stats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "run/golden_files.h"
#include "run/model_runs.h"
#include "stats/collector.h"

namespace lamina::stats {
namespace {

using run::golden_folder;
using run::ModelRun;
using run::read_npy;

/// Where a number of positions lies among 0, 1, 2-3, 4-7, ...
size_t naive_span(int64_t number) {
  size_t span = 0;
  for (int64_t begin = 1; begin <= number && span + 1 < kSpans; begin *= 2) ++span;
  return span;
}

Statistics attention_from(ModelRun& run, const std::vector<int32_t>& tokens, int64_t window) {
  return collect(*run.runner, *run.pool, tokens, {.window = window, .collector = {.attention = true}}, {}).value();
}

class GoldenAttention : public testing::TestWithParam<std::string> {};

TEST_P(GoldenAttention, IsThatOfTheReference) {
  const std::filesystem::path folder = golden_folder() / GetParam();
  const auto tokens = read_npy<int32_t>(folder / "tokens.npy", "<i4");
  const auto truth = read_npy<double>(folder / "attention.npy", "<f8");
  ModelRun run = ModelRun::open(folder, {.exact = true});
  const auto count = std::ssize(tokens);
  const Statistics statistics = attention_from(run, tokens, count);
  const size_t layers = run.model->layers().size();
  ASSERT_EQ(statistics.attention.size(), layers);
  const size_t heads = statistics.attention[0].heads.size();
  ASSERT_EQ(truth.size(), layers * heads * static_cast<size_t>(2 + 2 * count));
  const double* wanted = truth.data();
  double most_entropy = 0;
  for (const AttentionStats& stats : statistics.attention) {
    ASSERT_EQ(stats.heads.size(), heads);
    EXPECT_EQ(stats.rows, count);
    for (const HeadSums& head : stats.heads) {
      SCOPED_TRACE(testing::Message() << "layer " << stats.layer);
      HeadSums sums;
      for (int64_t i = 0; i < count; ++i) {
        sums.positions[naive_span(i)] += wanted[2 + i];
        sums.distances[naive_span(i)] += wanted[2 + count + i];
      }
      const auto rows = static_cast<double>(count);
      EXPECT_NEAR(head.entropy / rows, wanted[0], 1e-4);
      EXPECT_NEAR(head.sink / rows, wanted[1], 1e-5);
      for (size_t span = 0; span < kSpans; ++span) {
        EXPECT_NEAR(head.positions[span] / rows, sums.positions[span], 1e-5) << span;
        EXPECT_NEAR(head.distances[span] / rows, sums.distances[span], 1e-5) << span;
      }
      most_entropy = std::max(most_entropy, wanted[0]);
      wanted += 2 + 2 * count;
    }
  }
  EXPECT_GT(most_entropy, 0.5);
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenAttention,
                         testing::Values("gqa", "gpt2", "gemma2", "gpt_oss", "deepseek_v2", "smollm3_window"),
                         [](const auto& info) { return info.param; });

TEST(AttentionStats, OneRowIsMeasuredAsItsDefinitionSays) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  for (const auto& [keys, first, position] :
       {std::array<int64_t, 3>{1, 0, 0}, std::array<int64_t, 3>{700, 0, 699}, std::array<int64_t, 3>{97, 1000, 1096},
        std::array<int64_t, 3>{90, 0, 31}, std::array<int64_t, 3>{40, 5, 12}}) {
    for (const float sink : {-INFINITY, 2.0F}) {
      std::vector<float> scores(static_cast<size_t>(keys));
      for (float& s : scores) s = normal(random);
      std::vector<float> work(scores.size() + 1);
      const HeadSums found =
          measure_attention({.position = position, .first_key = first, .scores = scores, .sink = sink, .work = work});
      double sum = std::exp(double{sink});
      for (const float s : scores) sum += std::exp(double{s});
      HeadSums wanted;
      wanted.sink = std::exp(double{sink}) / sum;
      if (wanted.sink > 0) wanted.entropy = -wanted.sink * std::log(wanted.sink);
      for (int64_t i = 0; i < keys; ++i) {
        const double share = std::exp(double{scores[static_cast<size_t>(i)]}) / sum;
        wanted.entropy -= share * std::log(share);
        wanted.positions[naive_span(first + i)] += share;
        wanted.distances[naive_span(std::abs(position - first - i))] += share;
      }
      EXPECT_NEAR(found.entropy, wanted.entropy, 2e-6);
      EXPECT_NEAR(found.sink, wanted.sink, 1e-6);
      for (size_t span = 0; span < kSpans; ++span) {
        EXPECT_NEAR(found.positions[span], wanted.positions[span], 1e-6) << span;
        EXPECT_NEAR(found.distances[span], wanted.distances[span], 1e-6) << span;
      }
    }
  }
}

TEST(AttentionStats, NoBitDependsOnThreadsOrSteps) {
  for (const char* name : {"gqa", "gpt_oss", "deepseek_v2"}) {
    const auto tokens = read_npy<int32_t>(golden_folder() / name / "tokens.npy", "<i4");
    std::vector<std::vector<AttentionStats>> found;
    for (const auto& [threads, rows] : {std::pair<int, int64_t>{1, 40}, std::pair<int, int64_t>{5, 40},
                                        std::pair<int, int64_t>{2, 3}, std::pair<int, int64_t>{3, 17}}) {
      ModelRun run = ModelRun::open(golden_folder() / name, {.threads = threads, .max_rows = rows});
      found.push_back(attention_from(run, tokens, 20).attention);
    }
    for (const std::vector<AttentionStats>& other : found) {
      ASSERT_EQ(other.size(), found[0].size());
      for (size_t i = 0; i < other.size(); ++i) {
        EXPECT_EQ(other[i].rows, 40);
        EXPECT_EQ(other[i].heads.size(), found[0][i].heads.size());
        EXPECT_EQ(
            std::memcmp(other[i].heads.data(), found[0][i].heads.data(), other[i].heads.size() * sizeof(HeadSums)), 0)
            << name << " layer " << i;
      }
    }
  }
}

TEST(AttentionStats, SavedLoadedAndMerged) {
  const auto tokens = read_npy<int32_t>(golden_folder() / "gqa/tokens.npy", "<i4");
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const std::vector<int32_t> begin(tokens.begin(), tokens.begin() + 20);
  const std::vector<int32_t> end(tokens.begin() + 20, tokens.end());
  Statistics whole = attention_from(run, tokens, 20);
  Statistics first = attention_from(run, begin, 20);
  const Statistics second = attention_from(run, end, 20);
  const auto path = std::filesystem::temp_directory_path() / "lamina_attention_test.safetensors";
  ASSERT_TRUE(save(first, path));
  Statistics again = load(path).value();
  std::filesystem::remove(path);
  ASSERT_TRUE(again.merge(second));
  ASSERT_EQ(again.attention.size(), whole.attention.size());
  for (size_t i = 0; i < whole.attention.size(); ++i) {
    EXPECT_EQ(again.attention[i].layer, whole.attention[i].layer);
    EXPECT_EQ(again.attention[i].rows, 40);
    for (size_t h = 0; h < whole.attention[i].heads.size(); ++h)
      EXPECT_NEAR(again.attention[i].heads[h].entropy, whole.attention[i].heads[h].entropy, 1e-9);
  }
  const Statistics without = collect(*run.runner, *run.pool, end, {.window = 20}, {}).value();
  EXPECT_TRUE(without.attention.empty());
  const auto refused = again.merge(without);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "one of two parts tells of attention; both or none expected");
}

TEST(AttentionStats, FilesWithNumbersThatCannotBeAreRefused) {
  const auto tokens = read_npy<int32_t>(golden_folder() / "gqa/tokens.npy", "<i4");
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  Statistics statistics = attention_from(run, tokens, 40);
  statistics.attention[1].heads[2].positions[0] = -1;
  const auto path = std::filesystem::temp_directory_path() / "lamina_attention_refused.safetensors";
  ASSERT_TRUE(save(statistics, path));
  const auto loaded = load(path);
  std::filesystem::remove(path);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().message, "attention.1: number 102 is -1; finite ones from 0 on expected");
}

}  // namespace
}  // namespace lamina::stats

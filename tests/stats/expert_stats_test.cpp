#include "stats/expert_stats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "codec/codec.h"
#include "layers/linear.h"
#include "run/golden_files.h"
#include "run/model_runs.h"
#include "stats/collector.h"
#include "stats/keep_rows.h"

namespace lamina::stats {
namespace {

using run::golden_folder;
using run::ModelRun;
using run::read_npy;

Statistics collect_from(ModelRun& run, const std::vector<int32_t>& tokens, int64_t window) {
  return collect(*run.runner, *run.pool, tokens, {.window = window}, {}).value();
}

struct Family {
  std::string name;
  int64_t used = 0;
  bool normalize = false;
};

class RoutedStatistics : public testing::TestWithParam<Family> {};

/// From the router's inputs and its matrix: softmax, the best experts, their shares.
TEST_P(RoutedStatistics, AreThoseOfTheRouterDoneByHand) {
  const auto& [name, used, normalize] = GetParam();
  const auto tokens = read_npy<int32_t>(golden_folder() / name / "tokens.npy", "<i4");
  ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf", {.exact = true});
  const Statistics statistics = collect_from(run, tokens, std::ssize(tokens));
  ASSERT_FALSE(statistics.experts.empty());
  for (const ExpertStats& stats : statistics.experts) {
    SCOPED_TRACE(testing::Message() << name << " layer " << stats.layer);
    const std::string router = "blk." + std::to_string(stats.layer) + ".ffn_gate_inp.weight";
    KeepRows rows(router);
    run.runner->set_recorder(&rows);
    run.logits(tokens, {std::ssize(tokens)});
    run.runner->set_recorder(nullptr);
    ASSERT_EQ(rows.kept.size(), tokens.size());
    EXPECT_EQ(stats.rows, std::ssize(tokens));
    const core::TensorView& matrix = *run.model->files().find(router);
    const auto experts = static_cast<size_t>(matrix.rows());
    ASSERT_EQ(stats.shares.size(), experts);
    std::vector<float> weights(static_cast<size_t>(matrix.elements()));
    codec::codec_of(*matrix.format)->decode(matrix.data, matrix.elements(), weights.data());
    std::vector<double> shares(experts);
    std::vector<std::vector<int64_t>> together(experts, std::vector<int64_t>(experts));
    for (const std::vector<float>& row : rows.kept) {
      std::vector<double> scores(experts);
      for (size_t e = 0; e < experts; ++e) {
        for (size_t i = 0; i < row.size(); ++i) scores[e] += double{row[i]} * double{weights[e * row.size() + i]};
      }
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s);
      std::vector<size_t> order(experts);
      std::iota(order.begin(), order.end(), size_t{0});
      std::ranges::sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
      order.resize(static_cast<size_t>(used));
      double chosen = 0;
      for (const size_t e : order) chosen += scores[e];
      for (const size_t e : order) {
        shares[e] += scores[e] / (normalize ? chosen : sum);
        for (const size_t other : order) ++together[e][other];
      }
    }
    for (size_t e = 0; e < experts; ++e) {
      EXPECT_NEAR(stats.shares[e], shares[e], 1e-4) << e;
      for (size_t other = 0; other < experts; ++other)
        EXPECT_EQ(stats.count(static_cast<int64_t>(e), static_cast<int64_t>(other)),
                  static_cast<double>(together[e][other]))
            << e << " " << other;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, RoutedStatistics,
                         testing::Values(Family{"mixtral", 2, true}, Family{"qwen3moe", 2, true},
                                         Family{"qwen2moe", 3, false}),
                         [](const auto& info) { return info.param.name; });

TEST(ExpertStats, CountsAreTheRowsThatTheExpertsRead) {
  for (const char* name : {"deepseek_v3", "mixtral"}) {
    const auto tokens = read_npy<int32_t>(golden_folder() / name / "tokens.npy", "<i4");
    ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf", {});
    const Statistics statistics = collect_from(run, tokens, std::ssize(tokens));
    ASSERT_FALSE(statistics.experts.empty());
    for (const ExpertStats& stats : statistics.experts) {
      const MatrixStats* down = statistics.find("blk." + std::to_string(stats.layer) + ".ffn_down_exps.weight");
      ASSERT_NE(down, nullptr);
      for (int64_t e = 0; e < stats.experts(); ++e)
        EXPECT_EQ(stats.count(e, e), static_cast<double>(down->rows[static_cast<size_t>(e)])) << name << " " << e;
    }
  }
}

TEST(ExpertStats, NoBitDependsOnThreadsOrSteps) {
  const auto tokens = read_npy<int32_t>(golden_folder() / "qwen3moe/tokens.npy", "<i4");
  std::vector<std::vector<ExpertStats>> found;
  for (const auto& [threads, rows] :
       {std::pair<int, int64_t>{1, 40}, std::pair<int, int64_t>{5, 40}, std::pair<int, int64_t>{2, 7}}) {
    ModelRun run = ModelRun::open(golden_folder() / "qwen3moe/model.gguf", {.threads = threads, .max_rows = rows});
    found.push_back(collect_from(run, tokens, 20).experts);
  }
  for (const std::vector<ExpertStats>& other : found) {
    ASSERT_EQ(other.size(), found[0].size());
    for (size_t i = 0; i < other.size(); ++i) {
      EXPECT_EQ(other[i].shares, found[0][i].shares);
      EXPECT_EQ(other[i].together, found[0][i].together);
    }
  }
}

TEST(ExpertStats, SavedLoadedAndMerged) {
  const auto tokens = read_npy<int32_t>(golden_folder() / "mixtral/tokens.npy", "<i4");
  ModelRun run = ModelRun::open(golden_folder() / "mixtral/model.gguf", {});
  const Statistics whole = collect_from(run, tokens, 20);
  const Statistics first = collect_from(run, {tokens.begin(), tokens.begin() + 20}, 20);
  const Statistics second = collect_from(run, {tokens.begin() + 20, tokens.end()}, 20);
  const auto path = std::filesystem::temp_directory_path() / "lamina_experts_test.safetensors";
  ASSERT_TRUE(save(first, path));
  Statistics again = load(path).value();
  std::filesystem::remove(path);
  ASSERT_TRUE(again.merge(second));
  ASSERT_EQ(again.experts.size(), whole.experts.size());
  for (size_t i = 0; i < whole.experts.size(); ++i) {
    EXPECT_EQ(again.experts[i].layer, whole.experts[i].layer);
    EXPECT_EQ(again.experts[i].rows, 40);
    EXPECT_EQ(again.experts[i].together, whole.experts[i].together);
    for (size_t e = 0; e < whole.experts[i].shares.size(); ++e)
      EXPECT_NEAR(again.experts[i].shares[e], whole.experts[i].shares[e], 1e-9);
  }
}

}  // namespace
}  // namespace lamina::stats

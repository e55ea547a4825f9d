// Paths that are found for texts, and routers that are fitted to them.
#include "eval/path_fit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/regression.h"
#include "run/model_runs.h"
#include "run/random.h"

namespace lamina::eval {
namespace {

double draw(uint64_t n) {
  return static_cast<double>(run::random_bits(5, n, 0) % 20001) / 10000 - 1;
}

/// Rows of numbers, and for each the class whose law gives it most.
struct Samples {
  static constexpr size_t kCount = 60;
  static constexpr size_t kWidth = 4;
  std::vector<double> rows;
  std::vector<uint8_t> classes;

  Samples() {
    for (size_t i = 0; i < kCount * kWidth; ++i) rows.push_back(draw(i));
    for (size_t i = 0; i < kCount; ++i) {
      const double* row = rows.data() + i * kWidth;
      classes.push_back(row[0] > 0.3 ? 0 : row[1] > 0.3 ? 2 : 1);
    }
  }
};

TEST(Regression, InvertsAMatrix) {
  const std::vector<double> matrix{4, 1, 0.5, 1, 3, -1, 0.5, -1, 5};
  const std::vector<double> inverted = inverse(matrix, 3);
  for (size_t r = 0; r < 3; ++r) {
    for (size_t c = 0; c < 3; ++c) {
      double sum = 0;
      for (size_t k = 0; k < 3; ++k) sum += matrix[r * 3 + k] * inverted[k * 3 + c];
      EXPECT_NEAR(sum, r == c ? 1 : 0, 1e-12);
    }
  }
}

/// At the optimum the slope of the loss with its penalty is 0, whatever way led there.
TEST(Regression, LogisticEndsWhereItsSlopeIsZero) {
  const Samples samples;
  const std::vector<double> products = products_of(samples.rows, Samples::kCount);
  std::vector<size_t> used;
  for (size_t i = 0; i < Samples::kCount; i += 1 + i % 3) used.push_back(i);
  const double strength = 0.5;
  const Logistic fit = fit_logistic(products, samples.classes, 3, used, strength);
  std::vector<double> weights(3 * Samples::kWidth);
  for (size_t i = 0; i < samples.rows.size(); ++i) {
    for (size_t c = 0; c < 3; ++c)
      weights[c * Samples::kWidth + i % Samples::kWidth] += fit.duals[i / Samples::kWidth * 3 + c] * samples.rows[i];
  }
  std::vector<double> slopes = weights;
  for (double& slope : slopes) slope *= strength;
  for (const size_t i : used) {
    const auto logs =
        log_probabilities(fit, std::span<const double>(products).subspan(i * Samples::kCount, Samples::kCount));
    double sum = 0;
    for (size_t c = 0; c < 3; ++c) {
      sum += std::exp(logs[c]);
      for (size_t k = 0; k < Samples::kWidth; ++k)
        slopes[c * Samples::kWidth + k] +=
            (std::exp(logs[c]) - (samples.classes[i] == c ? 1 : 0)) * samples.rows[i * Samples::kWidth + k];
    }
    EXPECT_NEAR(sum, 1, 1e-12);
  }
  for (const double slope : slopes) EXPECT_NEAR(slope, 0, 1e-6);
}

TEST(PathFit, FindsWhenLayersAreLeftOutAndRepeated) {
  const Samples samples;
  PathLabels labels{.route = {{.layer = 0}, {.layer = 1}, {.layer = 2}}, .hidden = 2, .windows = 2};
  labels.reads.assign(3, samples.rows);
  for (const uint8_t one : samples.classes) labels.counts.push_back({1, one, 0});
  const PathFit fit = fit_paths(labels, -1);
  EXPECT_EQ(fit.informed, 1);
  EXPECT_EQ(fit.router.layers, (std::vector<int>{0, 1, 2}));
  int right = 0;
  int changed = 0;
  for (size_t i = 0; i < Samples::kCount; ++i) {
    for (size_t layer = 0; layer < 3; ++layer) {
      std::vector<double> values(fit.router.offsets.begin() + static_cast<std::ptrdiff_t>(layer * 3),
                                 fit.router.offsets.begin() + static_cast<std::ptrdiff_t>(layer * 3 + 3));
      for (size_t c = 0; c < 3; ++c) {
        for (size_t k = 0; k < Samples::kWidth; ++k)
          values[c] +=
              double{fit.router.weights[(layer * 3 + c) * Samples::kWidth + k]} * samples.rows[i * Samples::kWidth + k];
      }
      const int count = fit.router.count(values);
      right += count == labels.counts[i][layer] ? 1 : 0;
      changed += count == 1 ? 0 : 1;
    }
  }
  EXPECT_GT(right, 165);  // of 180
  EXPECT_NEAR(changed, (fit.skipped + fit.repeated) * 180, 12);
}

TEST(PathFit, NothingIsChangedWhereNothingIsToBe) {
  const Samples samples;
  PathLabels labels{.route = {{.layer = 0}}, .hidden = 2, .windows = 2};
  labels.reads.assign(1, samples.rows);
  labels.counts.assign(Samples::kCount, LayerCounts{1});
  const PathFit fit = fit_paths(labels, -1);
  EXPECT_EQ(fit.skipped + fit.repeated, 0);
  EXPECT_EQ(fit.router.count(fit.router.offsets), 1);
}

std::vector<ScoredSequence> texts(int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count * 20; ++i) tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + 5) % 100));
  return cut_windows(tokens, 20, 12, 0).value();
}

TEST(PathFit, SearchesPathsOfAModel) {
  run::ModelRun run = run::ModelRun::open(run::golden_folder() / "gemma2/model.gguf", {.spare = true});
  const std::vector<ScoredSequence> all = texts(8);
  PathSearch search{.search = {.simulations = 12}, .slack = 1e9};
  const auto any = label_paths(*run.runner, *run.pool, all, search, {});
  ASSERT_TRUE(any) << any.error().text();
  ASSERT_EQ(any->counts.size(), 8U);
  for (const auto& reads : any->reads) EXPECT_EQ(std::ssize(reads), 8 * search.windows * run.model->hidden());
  // Every path is right, so the shortest of those that were met is taken.
  for (const LayerCounts& counts : any->counts) EXPECT_LT(counts[0] + counts[1] + counts[2], 3);
  search.slack = 0;
  const auto strict = label_paths(*run.runner, *run.pool, all, search, {});
  ASSERT_TRUE(strict) << strict.error().text();
  EXPECT_EQ(strict->counts.size(), 8U);  // the whole route is as good as itself
  search.exact = true;
  const auto none = label_paths(*run.runner, *run.pool, all, search, {});
  ASSERT_TRUE(none) << none.error().text();
  EXPECT_EQ(none->without, 8);  // nobody foretells such tokens
}

TEST(PathFit, TestsARouterBesideTheWholeRoute) {
  run::ModelRun run = run::ModelRun::open(run::golden_folder() / "gemma2/model.gguf", {.spare = true});
  const std::vector<ScoredSequence> all = texts(8);
  const PathSearch search{.search = {.simulations = 12}, .slack = 1e9};
  const auto labels = label_paths(*run.runner, *run.pool, all, search, {});
  ASSERT_TRUE(labels) << labels.error().text();
  PathFit fit = fit_paths(*labels, -1);
  fit.router.threshold = 1e30;
  const auto whole = test_paths(fit.router, *labels, *run.runner, *run.pool, all, search, {});
  ASSERT_TRUE(whole) << whole.error().text();
  EXPECT_EQ(whole->routes, 1);
  EXPECT_EQ(whole->router.nll, whole->whole.nll);
  EXPECT_EQ(whole->fixed.nll, whole->whole.nll);
  EXPECT_DOUBLE_EQ(whole->router.visits, 3);
  fit.router.threshold = -1e30;
  fit.router.offsets = {-9e9, 0, 9e9, -9e9, 0, 9e9, -9e9, 0, 9e9};
  const auto twice = test_paths(fit.router, *labels, *run.runner, *run.pool, all, search, {});
  ASSERT_TRUE(twice) << twice.error().text();
  EXPECT_DOUBLE_EQ(twice->router.visits, 6);
  EXPECT_NE(twice->router.nll, twice->whole.nll);
}

}  // namespace
}  // namespace lamina::eval

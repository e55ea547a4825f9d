// What routers are fitted to, and that they find it.
#include "eval/router_fit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "run/model_runs.h"
#include "run/random.h"

namespace lamina::eval {
namespace {

double draw(uint64_t n) {
  return static_cast<double>(run::random_bits(11, n, 0) % 20001) / 10000 - 1;
}

LayerCosts costs_of(int64_t windows, int64_t hidden, double share_of_chance) {
  LayerCosts out{.layer = 3};
  uint64_t n = 0;
  for (int64_t w = 0; w < windows; ++w) {
    double cost = -2;
    for (int64_t i = 0; i < hidden; ++i) {
      out.reads.push_back(draw(n++));
      cost += (1 - share_of_chance) * static_cast<double>(i % 3 - 1) * out.reads.back();
    }
    out.costs.push_back(cost + share_of_chance * draw(n++));
  }
  return out;
}

TEST(RouterFit, FindsALinearLaw) {
  const LayerCosts costs = costs_of(60, 8, 0);
  const LayerFit fit = fit_layer(costs, 8);
  EXPECT_GT(fit.explained, 0.99);
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(fit.weights[i], static_cast<double>(i % 3) - 1, 0.05) << i;
  EXPECT_NEAR(fit.offset, -2, 0.05);
}

/// Each window foretold by the others, by leaving it out for real.
TEST(RouterFit, ForetellsAsWithoutTheWindow) {
  const LayerCosts all = costs_of(40, 4, 0.05);
  const LayerFit fit = fit_layer(all, 4);
  for (const size_t gone : {size_t{0}, size_t{17}, size_t{39}}) {
    LayerCosts others = all;
    others.costs.erase(others.costs.begin() + static_cast<std::ptrdiff_t>(gone));
    others.reads.erase(others.reads.begin() + static_cast<std::ptrdiff_t>(gone * 4),
                       others.reads.begin() + static_cast<std::ptrdiff_t>(gone * 4 + 4));
    const LayerFit without = fit_layer(others, 4);
    double foretold = without.offset;
    for (size_t i = 0; i < 4; ++i) foretold += without.weights[i] * all.reads[gone * 4 + i];
    EXPECT_NEAR(fit.foretold[gone], foretold, 0.01) << gone;
  }
}

TEST(RouterFit, OfChanceIsTheMean) {
  const LayerCosts costs = costs_of(60, 40, 1);
  const LayerFit fit = fit_layer(costs, 40);
  EXPECT_LT(fit.explained, 0.1);
}

TEST(RouterFit, LeavesOutTheWantedShare) {
  std::vector<LayerCosts> layers;
  for (int layer = 1; layer < 5; ++layer) {
    layers.push_back(costs_of(50, 8, 0.1));
    layers.back().layer = layer;
  }
  const RouterFit fit = fit_router(layers, 8, 6, 0.25);
  int64_t below = 0;
  for (const LayerCosts& one : layers) {
    for (const double foretold : fit_layer(one, 8).foretold) below += foretold < fit.router.threshold ? 1 : 0;
  }
  // Layers of the same numbers are equal, so they come in fours.
  EXPECT_NEAR(static_cast<double>(below), 0.25 * 6 * 50, 4);
  EXPECT_EQ(fit.informed, 4);
}

TEST(RouterFit, MeasuresAModel) {
  run::ModelRun run = run::ModelRun::open(run::golden_folder() / "gemma2/model.gguf", {.sequences = 2});
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < 10 * 24; ++i) tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + 5) % 100));
  const RouterWindows windows{.prompt = 16, .rest = 8};
  const auto costs = measure_costs(*run.runner, *run.pool, tokens, windows, {});
  const auto visits = std::ssize(run.runner->options().plan.route);
  ASSERT_TRUE(costs) << costs.error().text();
  ASSERT_EQ(std::ssize(*costs), visits - 2);
  for (const LayerCosts& one : *costs) {
    EXPECT_EQ(one.costs.size(), 10U);
    for (const double cost : one.costs) EXPECT_GT(cost, std::log(1e-8));
  }
  RouterFit fit = fit_router(*costs, run.model->hidden(), visits, 0);
  fit.router.threshold = -1e30;
  const auto none = test_router(fit.router, *costs, *run.runner, *run.pool, tokens, windows, {});
  ASSERT_TRUE(none) << none.error().text();
  EXPECT_NEAR(none->router.visits, static_cast<double>(visits), 1e-9);
  EXPECT_NEAR(none->router.kl, 0, 1e-12);
  fit.router.threshold = 1e30;
  const auto all = test_router(fit.router, *costs, *run.runner, *run.pool, tokens, windows, {});
  ASSERT_TRUE(all) << all.error().text();
  EXPECT_NEAR(all->router.visits, 2, 1e-9);
  EXPECT_GT(all->router.kl, 0);
  // Both leave out all that they may, so they are one route.
  EXPECT_NEAR(all->router.kl, all->fixed.kl, 1e-12);
  EXPECT_EQ(all->routes, 1);
  EXPECT_FALSE(measure_costs(*run.runner, *run.pool, std::span(tokens).first(20), windows, {}));
}

}  // namespace
}  // namespace lamina::eval

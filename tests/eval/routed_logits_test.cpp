// Scoring by routes that a router decides on: as if each text had its route from the start.
#include "eval/routed_logits.h"

#include <gtest/gtest.h>

#include "run/model_runs.h"

namespace lamina::eval {
namespace {

std::vector<ScoredSequence> texts() {
  std::vector<ScoredSequence> out;
  for (int64_t n = 0; n < 5; ++n) {
    ScoredSequence text{.tokens = {}, .first_target = n == 4 ? 1 : 6 + n};
    for (int64_t i = 0; i < 14 + 3 * n; ++i)
      text.tokens.push_back(static_cast<int32_t>((i * i * (n + 3) + i * 31 + 5) % 100));
    out.push_back(std::move(text));
  }
  return out;
}

run::ModelRun open() {
  return run::ModelRun::open(run::golden_folder() / "gemma2/model.gguf",
                             {.sequences = 2, .max_rows = 16, .spare = true});
}

std::vector<double> losses(run::ModelRun& run, LogitSource& source, std::span<const ScoredSequence> all,
                           StepShape shape) {
  const auto scores = score(all, source, nullptr, shape, *run.pool, {});
  EXPECT_TRUE(scores) << scores.error().text();
  const auto values = scores->nll.values();
  return {values.begin(), values.end()};
}

/// Functions of nothing but their offsets.
run::Router router_of(run::Router::Kind kind, int64_t hidden, std::vector<double> offsets) {
  run::Router router{.kind = kind, .model = "m", .hidden = hidden, .layers = {1}, .offsets = std::move(offsets)};
  router.weights.resize(static_cast<size_t>(router.outputs() * hidden));
  return router;
}

TEST(RoutedLogits, AreThoseOfTheDecidedRoute) {
  using Kind = run::Router::Kind;
  run::ModelRun run = open();
  const std::vector<ScoredSequence> all = texts();
  const std::vector<ScoredSequence> prompted(all.begin(), all.end() - 1);
  const std::vector<recipe::Visit> twice{{.layer = 0}, {.layer = 1}, {.layer = 1}, {.layer = 2}};
  const std::vector<recipe::Visit> never{{.layer = 0}, {.layer = 2}};
  for (const auto& [offsets, visits] : {std::pair(std::vector<double>{0, 0, 1}, twice), {{1, 0, 0}, never}}) {
    const run::Route route = run.runner->plan_route(visits).value();
    const auto fixed = logits_of_runner(*run.runner, prompted, &route);
    const std::vector<double> wanted = losses(run, *fixed, prompted, {.rows = 16, .sequences = 2});
    const run::Router router = router_of(Kind::kRepeat, run.model->hidden(), offsets);
    for (const StepShape shape : {StepShape{.rows = 16, .sequences = 2}, {.rows = 5, .sequences = 1}}) {
      const auto routed = RoutedLogits::create(*run.runner, router, prompted).value();
      EXPECT_EQ(losses(run, *routed, prompted, shape), wanted);
      EXPECT_DOUBLE_EQ(routed->mean_visits(), static_cast<double>(visits.size()));
    }
  }
  // Left out of what follows the prompt alone: something else than left out of all.
  const run::Route route = run.runner->plan_route(never).value();
  const auto fixed = logits_of_runner(*run.runner, prompted, &route);
  const std::vector<double> other = losses(run, *fixed, prompted, {.rows = 16, .sequences = 2});
  run::Router router = router_of(Kind::kSkip, run.model->hidden(), {0});
  router.threshold = 1;
  const auto routed = RoutedLogits::create(*run.runner, router, prompted).value();
  const std::vector<double> without = losses(run, *routed, prompted, {.rows = 16, .sequences = 2});
  EXPECT_NE(without, other);
  const auto again = RoutedLogits::create(*run.runner, router, prompted).value();
  EXPECT_EQ(losses(run, *again, prompted, {.rows = 3, .sequences = 1}), without);
}

TEST(RoutedLogits, OfAllLayersAreThePlainOnes) {
  run::ModelRun run = open();
  const std::vector<ScoredSequence> all = texts();  // one of them without a prompt
  const auto plain = logits_of_runner(*run.runner, all);
  const std::vector<double> wanted = losses(run, *plain, all, {.rows = 16, .sequences = 2});
  for (const auto kind : {run::Router::Kind::kSkip, run::Router::Kind::kRepeat}) {
    const run::Router router =
        router_of(kind, run.model->hidden(),
                  kind == run::Router::Kind::kSkip ? std::vector<double>{0} : std::vector<double>{0, 1, 0});
    const auto routed = RoutedLogits::create(*run.runner, router, all).value();
    EXPECT_EQ(losses(run, *routed, all, {.rows = 7, .sequences = 2}), wanted);
    EXPECT_DOUBLE_EQ(routed->mean_visits(), 3);
  }
}

}  // namespace
}  // namespace lamina::eval

// Routers: what they decide depends on the prompt alone, and texts are those of the decided route.
#include "run/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "run/engine.h"
#include "run/model_runs.h"

namespace lamina::run {
namespace {

using testing::HasSubstr;
using Kind = Router::Kind;

constexpr int64_t kWritten = 8;
const char* const kModels[] = {"qwen2", "gemma2", "lfm2"};

std::vector<int32_t> prompt_of(int64_t seed, int64_t vocabulary) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < 11 + 5 * seed; ++i)
    tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 * (seed + 1) + 5) % vocabulary));
  return tokens;
}

ModelRun open(const std::string& name, int threads, int32_t sequences, int64_t max_rows, bool spare = false) {
  return ModelRun::open(golden_folder() / name / "model.gguf",
                        {.threads = threads, .sequences = sequences, .max_rows = max_rows, .spare = spare});
}

/// Mean direction of what a layer reads of some positions.
class Directions : public BorderHook {
 public:
  Directions(int visit, WindowRange range, int64_t hidden)
      : visit_(visit), range_(range), sums(static_cast<size_t>(hidden)) {}
  void at_border(const Border& border, float* stream) override {
    if (border.visit + 1 != visit_) return;
    for (int64_t r = range_.begin; r < range_.end; ++r)
      add_direction(stream + r * border.hidden, border.hidden, 1.0 / static_cast<double>(range_.end - range_.begin),
                    sums.data());
  }

 private:
  int visit_;
  WindowRange range_;

 public:
  std::vector<double> sums;
};

/// [windows, hidden] of what layer 1 reads of a prompt but for its last token.
std::vector<double> directions(ModelRun& run, std::vector<int32_t> prompt, int64_t windows) {
  prompt.pop_back();
  std::vector<double> out;
  for (int64_t window = 0; window < windows; ++window) {
    Directions hook(1, window_range(std::ssize(prompt), windows, window), run.model->hidden());
    run.runner->set_hook(&hook);
    run.logits(prompt, {64});
    run.runner->set_hook(nullptr);
    out.insert(out.end(), hook.sums.begin(), hook.sums.end());
  }
  return out;
}

/// A router on layer 1. For the first of four prompts it runs it, or repeats it if it can; for the second it leaves it
/// out.
Router splitting(const std::string& name, Kind kind, int64_t windows) {
  ModelRun run = open(name, 1, 1, 64);
  const int64_t vocabulary = run.model->vocabulary();
  const std::vector<double> first = directions(run, prompt_of(0, vocabulary), windows);
  const std::vector<double> second = directions(run, prompt_of(1, vocabulary), windows);
  std::vector<float> weights;
  double middle = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    weights.push_back(static_cast<float>(first[i] - second[i]));
    middle += double{weights.back()} * (first[i] + second[i]) / 2;
  }
  Router router{.kind = kind, .model = "m", .hidden = run.model->hidden(), .windows = windows, .layers = {1}};
  if (kind == Kind::kSkip) {
    router.weights = weights;
    router.offsets = {0.5 - middle};
    router.threshold = 0.5;
    return router;
  }
  for (const float weight : weights) router.weights.push_back(-weight);
  router.weights.insert(router.weights.end(), weights.size(), 0);
  router.weights.insert(router.weights.end(), weights.begin(), weights.end());
  router.offsets = {middle, 0, -middle};
  return router;
}

GenerationRequest request_of(std::vector<int32_t> prompt) {
  return {.prompt = std::move(prompt),
          .source = {},
          .sampling = {.temperature = 0},
          .max_tokens = kWritten,
          .stops = {},
          .sink = {}};
}

struct Text {
  std::vector<int32_t> tokens;
  std::string route;
  friend bool operator==(const Text&, const Text&) = default;
};

/// What four prompts become, side by side as far as there is room.
std::vector<Text> write(const std::string& name, const Router& router, int threads, int32_t sequences,
                        int64_t max_rows) {
  ModelRun run = open(name, threads, sequences, max_rows, router.kind == Kind::kRepeat);
  std::vector<Text> texts;
  for (int64_t first = 0; first < 4; first += sequences) {
    Engine engine(*run.runner, nullptr);
    EXPECT_TRUE(engine.set_router(router));
    for (int64_t i = first; i < first + sequences; ++i)
      EXPECT_TRUE(engine.submit(request_of(prompt_of(i, run.model->vocabulary()))));
    const auto status = engine.finish();
    EXPECT_TRUE(status) << status.error().text();
    for (size_t i = 0; i < static_cast<size_t>(sequences); ++i)
      texts.push_back({engine.result(i).tokens, recipe::route_text(engine.result(i).route)});
  }
  return texts;
}

/// The prompt but for its last token by the whole route, what follows with or without layer 1.
std::vector<int32_t> by_hand(const std::string& name, int64_t seed, bool without) {
  ModelRun run = open(name, 1, 1, 64);
  std::vector<recipe::Visit> visits = run.runner->options().plan.route;
  if (without) std::erase_if(visits, [](const recipe::Visit& visit) { return visit.layer == 1; });
  const Route route = run.runner->plan_route(visits).value();
  const auto sequence = run.runner->open().value();
  std::vector<BatchRow> rows;
  for (const int32_t token : prompt_of(seed, run.model->vocabulary()))
    rows.push_back({.token = token, .sequence = sequence});
  BatchRow next = rows.back();
  rows.pop_back();
  EXPECT_TRUE(run.runner->step(rows, {}));
  std::vector<float> logits(static_cast<size_t>(run.model->vocabulary()));
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < kWritten; ++i) {
    next.wants_logits = true;
    EXPECT_TRUE(run.runner->step(std::span(&next, 1), logits, &route));
    next.token = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
    tokens.push_back(next.token);
  }
  return tokens;
}

/// All of it by a runner of that one route.
std::vector<int32_t> by_recipe(const std::string& name, int64_t seed, const std::string& route) {
  const ModelRun plain = open(name, 1, 1, 64);
  const std::string kv = plain.model->keeps_keys() ? "kv:f32 " : "";
  ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf",
                                {.threads = 1, .max_rows = 64, .recipe = kv + "route:" + route});
  Engine engine(*run.runner, nullptr);
  EXPECT_TRUE(engine.submit(request_of(prompt_of(seed, run.model->vocabulary()))));
  EXPECT_TRUE(engine.finish());
  return engine.result(0).tokens;
}

class RouterByFamily : public testing::TestWithParam<const char*> {};

TEST_P(RouterByFamily, LeavesOutOfWhatFollowsThePrompt) {
  const Router router = splitting(GetParam(), Kind::kSkip, 1);
  const std::vector<Text> alone = write(GetParam(), router, 1, 1, 64);
  EXPECT_NE(alone[0].route, alone[1].route);
  for (int64_t i = 0; i < 4; ++i) {
    const Text& text = alone[static_cast<size_t>(i)];
    EXPECT_EQ(text.tokens, by_hand(GetParam(), i, text.route != alone[0].route)) << i;
  }
  EXPECT_EQ(write(GetParam(), router, 2, 4, 128), alone);
  EXPECT_EQ(write(GetParam(), router, 2, 2, 3), alone);
  EXPECT_EQ(write(GetParam(), router, 1, 4, 7), alone);
}

TEST_P(RouterByFamily, RepeatsAsTheRecipeOfTheRouteDoes) {
  const Router router = splitting(GetParam(), Kind::kRepeat, 2);
  const std::vector<Text> alone = write(GetParam(), router, 1, 1, 64);
  EXPECT_THAT(alone[0].route, testing::StartsWith("0-1,1"));
  EXPECT_THAT(alone[1].route, testing::Not(HasSubstr("1")));
  for (int64_t i = 0; i < 4; ++i) {
    const Text& text = alone[static_cast<size_t>(i)];
    EXPECT_EQ(text.tokens, by_recipe(GetParam(), i, text.route)) << i;
  }
  EXPECT_EQ(write(GetParam(), router, 2, 4, 128), alone);
  EXPECT_EQ(write(GetParam(), router, 2, 2, 3), alone);
  EXPECT_EQ(write(GetParam(), router, 1, 4, 7), alone);
}

TEST_P(RouterByFamily, ThatRunsAllLayersChangesNothing) {
  ModelRun plain = open(GetParam(), 1, 1, 64);
  Router skip = splitting(GetParam(), Kind::kSkip, 1);
  skip.threshold = -1e30;
  Router repeat = splitting(GetParam(), Kind::kRepeat, 2);
  repeat.threshold = 1e30;
  for (const Router& router : {skip, repeat}) {
    ModelRun run = open(GetParam(), 1, 1, 64, true);
    for (int64_t i = 0; i < 3; ++i) {
      // Drawn, not the likeliest: each draw depends on all logits.
      GenerationRequest request = request_of(prompt_of(i, run.model->vocabulary()));
      request.sampling = {.temperature = 1, .seed = static_cast<uint64_t>(i)};
      Engine engine(*run.runner, nullptr);
      ASSERT_TRUE(engine.set_router(router));
      ASSERT_TRUE(engine.submit(request));
      ASSERT_TRUE(engine.finish());
      Engine whole(*plain.runner, nullptr);
      ASSERT_TRUE(whole.submit(request));
      ASSERT_TRUE(whole.finish());
      EXPECT_EQ(engine.result(0).tokens, whole.result(0).tokens);
      EXPECT_EQ(engine.result(0).route, run.runner->options().plan.route);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RouterByFamily, testing::ValuesIn(kModels));

TEST(Router, AWindowHasAShareOfThePrompt) {
  const auto ranges = [](int64_t length, int64_t windows) {
    std::vector<std::pair<int64_t, int64_t>> out;
    for (int64_t w = 0; w < windows; ++w) {
      const WindowRange range = window_range(length, windows, w);
      out.emplace_back(range.begin, range.end);
    }
    return out;
  };
  using Ranges = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(ranges(10, 1), (Ranges{{0, 10}}));
  EXPECT_EQ(ranges(10, 4), (Ranges{{0, 2}, {2, 5}, {5, 7}, {7, 10}}));
  EXPECT_EQ(ranges(2, 4), (Ranges{{0, 1}, {0, 1}, {1, 2}, {1, 2}}));
}

TEST(Router, CountsByItsThreshold) {
  Router router{.kind = Kind::kSkip, .threshold = 0.5};
  EXPECT_EQ(router.count(std::array{0.4}), 0);
  EXPECT_EQ(router.count(std::array{0.5}), 1);
  router.kind = Kind::kRepeat;
  EXPECT_EQ(router.count(std::array{1.0, 0.6, 0.9}), 1);
  EXPECT_EQ(router.count(std::array{1.2, 0.6, 0.9}), 0);
  EXPECT_EQ(router.count(std::array{1.2, 0.6, 1.3}), 2);
}

TEST(Router, APromptOfOneTokenKeepsAllLayers) {
  Router router = splitting("qwen2", Kind::kRepeat, 2);
  router.offsets = {9, 0, 0};
  ModelRun run = open("qwen2", 1, 1, 64, true);
  Engine engine(*run.runner, nullptr);
  ASSERT_TRUE(engine.set_router(router));
  ASSERT_TRUE(engine.submit(request_of({5})));
  ASSERT_TRUE(engine.finish());
  EXPECT_TRUE(engine.result(0).route.empty());
  EXPECT_EQ(std::ssize(engine.result(0).tokens), kWritten);
}

TEST(Router, IsAsItWasSaved) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "lamina_router.safetensors";
  for (const Kind kind : {Kind::kSkip, Kind::kRepeat}) {
    const Router router = splitting("qwen2", kind, 3);
    ASSERT_TRUE(save(router, path));
    const auto read = load_router(path);
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(read->kind, kind);
    EXPECT_EQ(read->model, router.model);
    EXPECT_EQ(read->hidden, router.hidden);
    EXPECT_EQ(read->windows, 3);
    EXPECT_EQ(read->threshold, router.threshold);
    EXPECT_EQ(read->layers, router.layers);
    EXPECT_EQ(read->weights, router.weights);
    EXPECT_EQ(read->offsets, router.offsets);
  }
  Router broken = splitting("qwen2", Kind::kSkip, 1);
  broken.offsets[0] = std::nan("");
  ASSERT_TRUE(save(broken, path));
  EXPECT_THAT(load_router(path).error().text(), HasSubstr("not finite"));
  broken = splitting("qwen2", Kind::kSkip, 1);
  broken.layers[0] = -1;
  ASSERT_TRUE(save(broken, path));
  EXPECT_THAT(load_router(path).error().text(), HasSubstr("rising"));
  EXPECT_THAT(load_router(golden_folder() / "absent").error().text(), HasSubstr("absent"));
  std::filesystem::remove(path);
}

TEST(Router, ThatDoesNotFitIsRefused) {
  ModelRun run = open("qwen2", 1, 1, 64);
  Engine engine(*run.runner, nullptr);
  Router router = splitting("qwen2", Kind::kSkip, 1);
  router.layers = {400};
  EXPECT_THAT(engine.set_router(router).error().text(), HasSubstr("layer 400"));
  router = splitting("qwen2", Kind::kSkip, 1);
  ++router.hidden;
  EXPECT_THAT(engine.set_router(router).error().text(), HasSubstr("width"));
  // There is no place for a second visit.
  EXPECT_THAT(engine.set_router(splitting("qwen2", Kind::kRepeat, 1)).error().text(),
              HasSubstr("layer 1 more often than the route that is served"));
}

TEST(Router, ATextThatHasBegunIsRefused) {
  const Router router = splitting("qwen2", Kind::kSkip, 1);
  ModelRun run = open("qwen2", 1, 1, 64);
  Engine engine(*run.runner, nullptr);
  ASSERT_TRUE(engine.set_router(router));
  const auto sequence = run.runner->open().value();
  ASSERT_TRUE(run.runner->step(std::array{BatchRow{.token = 5, .sequence = sequence}}, {}));
  const auto refused = engine.submit(request_of({5, 6}), sequence);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("1 tokens that it has not read"));
}

TEST(Router, ThatLeavesNothingIsAnError) {
  ModelRun run = open("qwen2", 1, 1, 64);
  Router router{.model = "m", .hidden = run.model->hidden(), .threshold = 1};
  for (const recipe::Visit& visit : run.runner->options().plan.route) router.layers.push_back(visit.layer);
  router.weights.resize(router.layers.size() * static_cast<size_t>(router.hidden));
  router.offsets.resize(router.layers.size());
  Engine engine(*run.runner, nullptr);
  ASSERT_TRUE(engine.set_router(router));
  ASSERT_TRUE(engine.submit(request_of({5, 6, 7})));
  const auto status = engine.finish();
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().text(), HasSubstr("leaves out every layer"));
}

}  // namespace
}  // namespace lamina::run

// Early exits and layers side by side: what they compute, and that it depends on nobody else in the batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "run/model_runs.h"

namespace lamina::run {
namespace {

using testing::HasSubstr;

constexpr int64_t kTokens = 70;

std::vector<int32_t> tokens_of(int64_t vocabulary) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < kTokens; ++i) tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + 5) % vocabulary));
  return tokens;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::vector<float> logits(const std::string& name, const std::string& recipe, int threads,
                          const std::vector<int64_t>& pieces) {
  ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf",
                                {.threads = threads, .max_rows = kTokens, .recipe = recipe});
  return run.logits(tokens_of(run.model->vocabulary()), pieces);
}

/// Rows of logits in which two runs differ.
int64_t rows_apart(std::span<const float> a, std::span<const float> b) {
  const size_t row = a.size() / kTokens;
  int64_t apart = 0;
  for (size_t i = 0; i < kTokens; ++i) apart += same_bits(a.subspan(i * row, row), b.subspan(i * row, row)) ? 0 : 1;
  return apart;
}

class ExitByFamily : public testing::TestWithParam<std::string> {};

TEST_P(ExitByFamily, OneByOneIsAsAllAtOnce) {
  for (const std::string by : {"token", "stream"}) {
    const auto recipe = [&](double confidence) {
      return fmt::format("route:exit(confidence={},by={},from=0,every=1)", confidence, by);
    };
    const std::vector<float> whole = logits(GetParam(), "", 1, {kTokens});
    const std::vector<float> all_leave = logits(GetParam(), recipe(0), 1, {kTokens});
    EXPECT_GT(rows_apart(whole, all_leave), kTokens / 2);
    // Some confidence lets some rows leave after the first layer, and some not.
    double low = 0;
    double high = 1;
    std::vector<float> found;
    for (int i = 0; i < 40; ++i) {
      const double confidence = (low + high) / 2;
      found = logits(GetParam(), recipe(confidence), 1, {kTokens});
      const int64_t stayed = rows_apart(found, all_leave);
      if (stayed > kTokens / 5 && stayed < kTokens * 4 / 5) break;
      (stayed >= kTokens * 4 / 5 ? high : low) = confidence;
    }
    const double confidence = (low + high) / 2;
    EXPECT_GT(rows_apart(found, all_leave), 0);
    EXPECT_LT(rows_apart(found, all_leave), kTokens);
    EXPECT_TRUE(same_bits(logits(GetParam(), recipe(confidence), 1, {1}), found)) << by;
    EXPECT_TRUE(same_bits(logits(GetParam(), recipe(confidence), 2, {7, 30, 1}), found)) << by;
  }
}

// Keys and windows; latents; states; experts; parts that run side by side.
INSTANTIATE_TEST_SUITE_P(Models, ExitByFamily,
                         testing::Values("untied", "gemma2", "deepseek_v2_lite", "lfm2", "qwen2moe", "gptneox"));

TEST(Exit, NeverIsTheWholeRoute) {
  EXPECT_TRUE(same_bits(logits("untied", "route:exit(confidence=1,by=stream,from=0,every=1)", 1, {9}),
                        logits("untied", "", 2, {9})));
}

TEST(LayerFusion, WithoutWeightChangesNoBit) {
  const std::vector<float> plain = logits("untied", "", 1, {9});
  EXPECT_TRUE(same_bits(logits("untied", "decode:lfd(layer=0,weight=0)", 1, {9}), plain));
  EXPECT_GT(rows_apart(logits("untied", "decode:lfd(layer=0,weight=0.1)", 1, {9}), plain), kTokens / 4);
}

TEST(LayerFusion, AddsTheLayersLogProbabilitiesToLikelyTokens) {
  const std::vector<float> whole = logits("untied", "", 1, {kTokens});
  const std::vector<float> early = logits("untied", "route:0", 1, {kTokens});
  const std::vector<float> fused = logits("untied", "decode:lfd(layer=0,weight=0.5,share=0.3)", 1, {kTokens});
  const size_t vocabulary = whole.size() / kTokens;
  for (size_t row = 0; row < kTokens; ++row) {
    const auto of = [&](const std::vector<float>& all) { return std::span(all).subspan(row * vocabulary, vocabulary); };
    double total = 0;
    for (const float logit : of(early)) total += std::exp(double{logit});
    const double likely = std::ranges::max(of(whole)) + std::log(0.3);
    double least = 0;
    for (size_t i = 0; i < vocabulary; ++i) {
      if (of(whole)[i] >= likely) least = std::min(least, of(early)[i] - std::log(total));
    }
    for (size_t i = 0; i < vocabulary; ++i) {
      const double added = of(whole)[i] >= likely ? of(early)[i] - std::log(total) : least;
      EXPECT_NEAR(of(fused)[i], of(whole)[i] + 0.5 * added, 1e-4) << row << " " << i;
    }
  }
}

TEST(LayerFusion, ThreadsAndChunksChangeNothing) {
  const std::string recipe = "decode:lfd(layer=0)";
  EXPECT_TRUE(same_bits(logits("gemma2", recipe, 2, {1}), logits("gemma2", recipe, 1, {kTokens})));
  EXPECT_TRUE(same_bits(logits("qwen2moe", recipe, 2, {7, 30, 1}), logits("qwen2moe", recipe, 1, {kTokens})));
}

TEST(Beside, TheSumOfWhatEachAddsAlone) {
  const auto streams = [](const std::string& recipe) {
    ModelRun run = ModelRun::open(golden_folder() / "gemma3/model.gguf",
                                  {.threads = 1, .max_rows = kTokens, .recipe = recipe + " kv:f32"});
    KeepStreams hook;
    run.runner->set_hook(&hook);
    run.logits(tokens_of(run.model->vocabulary()), {kTokens});
    return hook.streams;
  };
  const auto one = streams("route:0,1");
  const auto two = streams("route:0,2");
  const auto three = streams("route:0,0");
  const auto beside = streams("route:0,(1|2|0)");
  ASSERT_EQ(beside.size(), 5U);
  std::vector<float> sum = one[2];
  for (const auto* other : {&two, &three}) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += (*other)[2][i] - one[1][i];
  }
  EXPECT_TRUE(same_bits(beside[2], one[2]));
  EXPECT_TRUE(same_bits(beside[3], two[2]));
  EXPECT_TRUE(same_bits(beside[4], sum));
}

TEST(Beside, ThreadsAndChunksChangeNothing) {
  for (const std::string name : {"untied", "gemma2", "lfm2", "gptneox"}) {
    const std::string recipe = "route:0,(1|0),(0|1),1";
    const std::vector<float> wanted = logits(name, recipe, 1, {kTokens});
    EXPECT_TRUE(same_bits(logits(name, recipe, 2, {1}), wanted)) << name;
    EXPECT_TRUE(same_bits(logits(name, recipe, 2, {7, 30, 1}), wanted)) << name;
    EXPECT_FALSE(same_bits(logits(name, "route:0,1,0,0,1,1", 1, {kTokens}), wanted)) << name;
  }
}

TEST(Route, OfARequestNeedsTheRoomForIt) {
  ModelRun run = ModelRun::open(golden_folder() / "untied/model.gguf", {});
  const auto beside = run.runner->plan_route({{.layer = 0}, {.layer = 1, .beside = true}});
  ASSERT_FALSE(beside);
  EXPECT_THAT(beside.error().message, HasSubstr("no room for layers side by side"));
  const auto exit = run.runner->plan_route({{.layer = 0}, {.layer = 1}}, recipe::ExitPlan{.checks = {true, false}});
  ASSERT_FALSE(exit);
  EXPECT_THAT(exit.error().message, HasSubstr("no room for early exits"));
}

}  // namespace
}  // namespace lamina::run

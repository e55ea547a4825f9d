#include "run/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "run/random.h"

namespace lamina::run {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();

/// Every filter and penalty off.
SamplingOptions plain_options() {
  return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .typical_p = 1, .penalty_window = -1};
}

std::vector<float> random_logits(size_t size, uint32_t seed, double spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = static_cast<float>(normal(random));
  return logits;
}

struct Token {
  int32_t id;
  double logit;
  double weight;
};

void set_weights(std::vector<Token>& tokens, double temperature) {
  double highest = -INFINITY;
  for (const Token& token : tokens) highest = std::max(highest, token.logit);
  double total = 0;
  for (Token& token : tokens) total += token.weight = std::exp((token.logit - highest) / temperature);
  for (Token& token : tokens) token.weight /= total;
}

/// Sorts by rising key (ties by id) and keeps the fewest with this mass.
template <typename Key>
void keep_mass(std::vector<Token>& tokens, double mass, Key key) {
  set_weights(tokens, 1);
  std::sort(tokens.begin(), tokens.end(),
            [&](const Token& a, const Token& b) { return std::pair(key(a), a.id) < std::pair(key(b), b.id); });
  double sum = 0;
  size_t kept = 0;
  while (kept < tokens.size() && (kept == 0 || sum < mass)) sum += tokens[kept++].weight;
  tokens.resize(kept);
}

/// The documented steps, written the plain way: full sorts, and softmax anew for each filter.
std::vector<Token> plain_filter(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<Token> tokens;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInf) tokens.push_back({static_cast<int32_t>(i), std::min(logits[i], kMax), 0});
  }
  const auto by_logit = [](const Token& token) { return -token.logit; };
  if (options.top_k > 0 && tokens.size() > static_cast<size_t>(options.top_k)) {
    keep_mass(tokens, 2, by_logit);
    tokens.resize(static_cast<size_t>(options.top_k));
  }
  if (options.typical_p < 1) {
    set_weights(tokens, 1);
    double entropy = 0;
    for (const Token& token : tokens) entropy -= token.weight > 0 ? token.weight * std::log(token.weight) : 0;
    std::vector<double> deviation(logits.size());
    for (const Token& token : tokens) {
      deviation[static_cast<size_t>(token.id)] = static_cast<float>(std::abs(-std::log(token.weight) - entropy));
    }
    keep_mass(tokens, options.typical_p, [&](const Token& token) { return deviation[static_cast<size_t>(token.id)]; });
  }
  if (options.top_p < 1) keep_mass(tokens, options.top_p, by_logit);
  set_weights(tokens, 1);
  double highest = 0;
  for (const Token& token : tokens) highest = std::max(highest, token.weight);
  std::erase_if(tokens, [&](const Token& token) { return token.weight < options.min_p * highest; });
  set_weights(tokens, options.temperature);
  std::ranges::sort(tokens, {}, &Token::id);
  return tokens;
}

int32_t plain_draw(const std::vector<Token>& tokens, double unit) {
  double sum = 0;
  for (const Token& token : tokens) {
    sum += token.weight;
    if (unit < sum) return token.id;
  }
  return tokens.back().id;
}

void expect_same_draws(const std::vector<float>& logits, SamplingOptions options, int draws = 50) {
  ASSERT_TRUE(check(options, static_cast<int>(logits.size())));
  const std::vector<Token> tokens = plain_filter(logits, options);
  Sampler sampler(options, static_cast<int>(logits.size()));
  for (int i = 0; i < draws; ++i) {
    const auto id = sampler.sample(logits, {});
    ASSERT_TRUE(id);
    ASSERT_EQ(*id, plain_draw(tokens, random_unit(options.seed, static_cast<uint64_t>(i))))
        << "draw " << i << " of " << tokens.size() << " tokens";
  }
}

// Known answers of the Random123 library's kat_vectors file.
TEST(Random, PhiloxGivesThePublishedNumbers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampler, EachFilterAgreesWithThePlainWay) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    for (const size_t size : {1, 2, 17, 64, 65, 1000, 5003}) {
      const std::vector<float> logits = random_logits(size, seed, seed % 2 == 0 ? 3 : 0.3);
      SamplingOptions options = plain_options();
      options.seed = seed;
      expect_same_draws(logits, options);
      for (const int top_k : {1, 2, 40, 77, 900}) {
        SamplingOptions changed = options;
        changed.top_k = top_k;
        expect_same_draws(logits, changed);
      }
      for (const float share : {0.0f, 0.1f, 0.5f, 0.9f, 0.999f}) {
        SamplingOptions changed = options;
        changed.top_p = share;
        expect_same_draws(logits, changed);
        changed = options;
        changed.min_p = share;
        expect_same_draws(logits, changed);
        changed = options;
        changed.typical_p = share;
        expect_same_draws(logits, changed);
      }
      for (const float temperature : {0.01f, 0.5f, 2.0f, 100.0f}) {
        SamplingOptions changed = options;
        changed.temperature = temperature;
        expect_same_draws(logits, changed);
      }
    }
  }
}

TEST(Sampler, FiltersTogetherAgreeWithThePlainWay) {
  std::mt19937 random(11);
  const auto unit = [&] { return static_cast<float>(random() % 1000) / 999.0f; };
  for (int round = 0; round < 400; ++round) {
    SamplingOptions options = plain_options();
    options.temperature = 0.05f + 2 * unit();
    options.top_k = random() % 3 == 0 ? 0 : static_cast<int>(random() % 200);
    options.top_p = random() % 3 == 0 ? 1 : unit();
    options.min_p = random() % 3 == 0 ? 0 : unit() * unit() * 0.2f;
    options.typical_p = random() % 3 == 0 ? 1 : unit();
    options.seed = random();
    std::vector<float> logits = random_logits(1 + random() % 3000, static_cast<uint32_t>(round));
    // Few distinct values make many ties, and banned tokens are passed over.
    if (round % 2 == 0) {
      for (float& logit : logits) logit = std::round(logit);
    }
    if (round % 3 == 0) {
      for (size_t i = 0; i + 1 < logits.size(); i += 3) logits[i] = -kInf;
    }
    ASSERT_NO_FATAL_FAILURE(expect_same_draws(logits, options, 20)) << round;
  }
}

TEST(Sampler, DrawsTheSoftmaxByChiSquare) {
  // The 99.9 % quantile of chi-square with 15 degrees of freedom is 37.70.
  const std::vector<float> logits = random_logits(16, 3, 1);
  for (const float temperature : {0.7f, 1.0f, 1.6f}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      SamplingOptions options = plain_options();
      options.temperature = temperature;
      options.seed = seed;
      Sampler sampler(options, 16);
      constexpr int kDraws = 100000;
      std::array<int, 16> counts{};
      for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(*sampler.sample(logits, {}))];
      double total = 0;
      for (const float logit : logits) total += std::exp(logit / static_cast<double>(temperature));
      double statistic = 0;
      for (size_t i = 0; i < 16; ++i) {
        const double expected = kDraws * std::exp(logits[i] / static_cast<double>(temperature)) / total;
        statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
      }
      EXPECT_LT(statistic, 37.70) << temperature << " " << seed;
    }
  }
}

TEST(Sampler, TheSameSeedAndStepGiveTheSameToken) {
  const std::vector<float> logits = random_logits(1000, 1);
  SamplingOptions options;
  options.seed = 42;
  Sampler one(options, 1000);
  std::vector<int32_t> drawn;
  for (int i = 0; i < 100; ++i) drawn.push_back(*one.sample(logits, {}));
  EXPECT_EQ(one.step(), 100U);
  Sampler two(options, 1000);
  for (int i = 99; i >= 0; --i) {
    two.set_step(static_cast<uint64_t>(i));
    EXPECT_EQ(*two.sample(logits, {}), drawn[static_cast<size_t>(i)]);
  }
  options.seed = 43;
  Sampler other(options, 1000);
  std::vector<int32_t> different;
  for (int i = 0; i < 100; ++i) different.push_back(*other.sample(logits, {}));
  EXPECT_NE(drawn, different);
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  SamplingOptions options = plain_options();
  options.temperature = 0;
  std::vector<float> logits(200, -1);
  logits[63] = logits[64] = logits[199] = 5;
  Sampler sampler(options, 200);
  EXPECT_EQ(*sampler.sample(logits, {}), 63);
  logits[1] = -0.0f;
  logits[63] = logits[64] = logits[199] = -1;
  logits[190] = 0.0f;
  EXPECT_EQ(*sampler.sample(logits, {}), 1);
  EXPECT_EQ(sampler.step(), 2U);
}

TEST(Sampler, TopKAmongEqualsKeepsTheLowestIds) {
  SamplingOptions options = plain_options();
  options.top_k = 3;
  const std::vector<float> logits(300, 1.5f);
  Sampler sampler(options, 300);
  std::set<int32_t> seen;
  for (int i = 0; i < 200; ++i) seen.insert(*sampler.sample(logits, {}));
  EXPECT_EQ(seen, (std::set<int32_t>{0, 1, 2}));
}

/// The logit of `token` after bias and penalties.
float adjusted(const SamplingOptions& options, std::vector<float> logits, std::vector<int32_t> history, int32_t token) {
  // A rival with a known logit, moved by bisection, shows the token's adjusted logit.
  SamplingOptions greedy = options;
  greedy.temperature = 0;
  const auto size = static_cast<int>(logits.size()) + 1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (static_cast<int32_t>(i) != token) greedy.logit_bias.emplace_back(static_cast<int32_t>(i), -kInf);
  }
  logits.push_back(0);
  Sampler sampler(greedy, size);
  float low = -100;
  float high = 100;
  for (int i = 0; i < 60; ++i) {
    const float middle = (low + high) / 2;
    logits.back() = middle;
    (*sampler.sample(logits, history) == token ? low : high) = middle;
  }
  return low;
}

TEST(Sampler, PenaltiesFollowTheirFormulas) {
  const std::vector<float> logits{4, -2, 1, 3};
  const std::vector<int32_t> history{0, 1, 1, 0, 1, 7, -3};
  SamplingOptions options = plain_options();
  options.repeat_penalty = 2;
  EXPECT_NEAR(adjusted(options, logits, history, 0), 2, 1e-4);
  EXPECT_NEAR(adjusted(options, logits, history, 1), -4, 1e-4);
  EXPECT_NEAR(adjusted(options, logits, history, 3), 3, 1e-4);
  options.presence_penalty = 0.5f;
  options.frequency_penalty = 0.25f;
  EXPECT_NEAR(adjusted(options, logits, history, 0), 2 - 0.5 - 0.5, 1e-4);
  EXPECT_NEAR(adjusted(options, logits, history, 1), -4 - 0.5 - 0.75, 1e-4);
  EXPECT_NEAR(adjusted(options, logits, history, 2), 1, 1e-4);
  options.penalty_window = 3;
  EXPECT_NEAR(adjusted(options, logits, history, 0), 4, 1e-4);
  EXPECT_NEAR(adjusted(options, logits, history, 1), -4 - 0.5 - 0.25, 1e-4);
  options.penalty_window = 0;
  EXPECT_NEAR(adjusted(options, logits, history, 1), -2, 1e-4);
  options.penalty_window = -1;
  options.logit_bias = {{1, 6.0f}};
  EXPECT_NEAR(adjusted(options, logits, history, 1), 4 / 2.0 - 0.5 - 0.75, 1e-4) << "bias comes before penalties";
}

TEST(Sampler, PenaltyCountsDoNotOutliveACall) {
  SamplingOptions options = plain_options();
  options.temperature = 0;
  options.frequency_penalty = 1;
  Sampler sampler(options, 2);
  const std::vector<float> logits{2.5f, 0};
  const std::vector<int32_t> history{0, 0};
  for (int i = 0; i < 10; ++i) EXPECT_EQ(*sampler.sample(logits, history), 0);
  const std::vector<int32_t> longer{0, 0, 0};
  EXPECT_EQ(*sampler.sample(logits, longer), 1);
}

TEST(Sampler, BiasBansAndForces) {
  SamplingOptions options = plain_options();
  options.logit_bias = {{2, -kInf}, {1, 100.0f}};
  const std::vector<float> logits{1, 1, 50};
  Sampler sampler(options, 3);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(*sampler.sample(logits, {}), 1);
}

TEST(Sampler, SurvivesExtremeLogits) {
  for (const float temperature : {0.0f, 0.0001f, 1.0f, 100.0f}) {
    for (const bool filters : {false, true}) {
      SamplingOptions options = filters ? SamplingOptions{} : plain_options();
      options.temperature = temperature;
      options.typical_p = filters ? 0.9f : 1.0f;
      options.repeat_penalty = 1.5f;
      Sampler sampler(options, 4);
      const std::vector<int32_t> history{0, 1, 2, 3};
      const auto sampled = [&](std::vector<float> logits) { return *sampler.sample(logits, history); };
      EXPECT_EQ(sampled({kNan, -kInf, 3, kNan}), 2);
      EXPECT_EQ(sampled({kNan, kInf, 3, -kMax}), 1);
      EXPECT_EQ(sampled({-kMax, -kInf, kNan, -kInf}), 0);
      EXPECT_EQ(sampled({-kMax, kMax, 0, 0}), 1);
      EXPECT_THAT(sampled({kInf, kInf, 0, kNan}), testing::AnyOf(0, 1));
      EXPECT_THAT(sampled({1e-45f, 0, -1e-45f, -kInf}), testing::AnyOf(0, 1, 2));
      for (const float nothing : {kNan, -kInf}) {
        const auto result = sampler.sample(std::vector<float>(4, nothing), history);
        ASSERT_FALSE(result);
        EXPECT_THAT(result.error().message, testing::HasSubstr("no logit is above -infinity"));
      }
      EXPECT_FALSE(sampler.sample(std::vector<float>(3), history));
    }
  }
}

TEST(Sampler, AFailedDrawDoesNotCountAsAStep) {
  Sampler sampler({}, 2);
  EXPECT_FALSE(sampler.sample(std::vector<float>(2, kNan), {}));
  EXPECT_EQ(sampler.step(), 0U);
}

TEST(SamplingOptions, ChecksNameTheOptionAndTheRange) {
  EXPECT_TRUE(check({}, 10));
  const auto error = [](auto change, int vocabulary = 10) {
    SamplingOptions options;
    change(options);
    const auto status = check(options, vocabulary);
    return status ? std::string("accepted") : status.error().text();
  };
  using Options = SamplingOptions&;
  EXPECT_EQ(error([](Options o) { o.temperature = -1; }), "sampling option temperature: found -1; 0 to 100 expected");
  EXPECT_EQ(error([](Options o) { o.temperature = kNan; }),
            "sampling option temperature: found nan; 0 to 100 expected");
  EXPECT_EQ(error([](Options o) { o.top_p = 1.5f; }), "sampling option top_p: found 1.5; 0 to 1 expected");
  EXPECT_THAT(error([](Options o) { o.top_k = -1; }), testing::HasSubstr("top_k: found -1"));
  EXPECT_THAT(error([](Options o) { o.min_p = -0.5f; }), testing::HasSubstr("min_p: found -0.5"));
  EXPECT_THAT(error([](Options o) { o.typical_p = kInf; }), testing::HasSubstr("typical_p: found inf"));
  EXPECT_THAT(error([](Options o) { o.repeat_penalty = 0; }), testing::HasSubstr("repeat_penalty: found 0"));
  EXPECT_THAT(error([](Options o) { o.presence_penalty = 3; }), testing::HasSubstr("presence_penalty: found 3"));
  EXPECT_THAT(error([](Options o) { o.frequency_penalty = -3; }), testing::HasSubstr("frequency_penalty: found -3"));
  EXPECT_THAT(error([](Options o) { o.penalty_window = -2; }), testing::HasSubstr("penalty_window: found -2"));
  EXPECT_EQ(error([](Options o) { o.logit_bias = {{10, 1.0f}}; }),
            "sampling option logit_bias: found token 10; 0 to 9 expected");
  EXPECT_THAT(error([](Options o) { o.logit_bias = {{-1, 1.0f}}; }), testing::HasSubstr("found token -1"));
  EXPECT_THAT(error([](Options o) { o.logit_bias = {{1, kNan}}; }), testing::HasSubstr("found nan for token 1"));
  EXPECT_THAT(error([](Options o) { o.logit_bias = {{1, kInf}}; }), testing::HasSubstr("found inf for token 1"));
  EXPECT_EQ(error([](Options o) { o.logit_bias = {{1, -kInf}}; }), "accepted");
  EXPECT_THAT(error([](Options) {}, 0), testing::HasSubstr("vocabulary: found 0"));
}

}  // namespace
}  // namespace lamina::run

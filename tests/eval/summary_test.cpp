#include "eval/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "support/source_dir.h"

namespace lamina::eval {
namespace {

Windows windows_of(const std::vector<std::vector<double>>& values) {
  Windows windows;
  for (const std::vector<double>& window : values) windows.add(window);
  return windows;
}

class SummaryReference : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(source_dir() / "tests/eval/metrics_reference.json");
    data_ = nlohmann::json::parse(file)["summary"];
    samples_ = windows_of(data_["windows"]);
    bootstrap_ = {.resamples = data_["resamples"], .seed = data_["seed"]};
  }
  void expect(const core::Result<Estimate>& estimate, const std::string& name) {
    ASSERT_TRUE(estimate);
    EXPECT_NEAR(estimate->value, data_[name].get<double>(), 1e-12) << name;
    ASSERT_TRUE(estimate->interval);
    EXPECT_NEAR(estimate->interval->low, data_[name + "_interval"][0].get<double>(), 1e-11) << name;
    EXPECT_NEAR(estimate->interval->high, data_[name + "_interval"][1].get<double>(), 1e-11) << name;
  }
  nlohmann::json data_;
  Windows samples_;
  Bootstrap bootstrap_;
};

// The reference draws the same windows with its own Philox and leaves the rest to numpy.
TEST_F(SummaryReference, AgreesWithNumpy) {
  expect(mean(samples_, bootstrap_), "mean");
  expect(quantile(samples_, 0.99, bootstrap_), "p99");
  expect(quantile(samples_, 0.3, bootstrap_), "p30");
  expect(perplexity(samples_, bootstrap_), "perplexity");
  expect(mean_difference(windows_of(data_["other"]), samples_, bootstrap_), "difference");
  const auto summary = summarize(samples_, bootstrap_);
  ASSERT_TRUE(summary);
  expect(summary->mean, "mean");
  expect(summary->p99, "p99");
}

TEST_F(SummaryReference, TheIntervalIsNearThatOfScipy) {
  const auto estimate = mean(samples_, {.resamples = 20000, .seed = 9});
  ASSERT_TRUE(estimate && estimate->interval);
  const double low = data_["mean_interval_scipy"][0];
  const double high = data_["mean_interval_scipy"][1];
  EXPECT_NEAR(estimate->interval->low, low, 0.05 * (high - low));
  EXPECT_NEAR(estimate->interval->high, high, 0.05 * (high - low));
}

TEST_F(SummaryReference, DependsOnTheSeedAlone) {
  const auto first = mean(samples_, {.seed = 1});
  const auto again = mean(samples_, {.seed = 1});
  const auto other = mean(samples_, {.seed = 2});
  EXPECT_EQ(first->interval->low, again->interval->low);
  EXPECT_EQ(first->value, other->value);
  EXPECT_NE(first->interval->low, other->interval->low);
}

TEST(Summary, PairingRemovesWhatBothShare) {
  // Windows differ much, the models by a constant: the paired interval is a point.
  const Windows reference = windows_of({{1, 9}, {100, 3}, {50}, {0, 0, 7}});
  const Windows model = windows_of({{1.5, 9.5}, {100.5, 3.5}, {50.5}, {0.5, 0.5, 7.5}});
  const auto difference = mean_difference(model, reference);
  ASSERT_TRUE(difference && difference->interval);
  EXPECT_DOUBLE_EQ(difference->value, 0.5);
  EXPECT_DOUBLE_EQ(difference->interval->low, 0.5);
  EXPECT_DOUBLE_EQ(difference->interval->high, 0.5);
  EXPECT_GT(mean(model)->interval->high - mean(model)->interval->low, 10);
}

TEST(Summary, OneWindowHasNoInterval) {
  const auto estimate = mean(windows_of({{1, 2, 3}, {}}));
  ASSERT_TRUE(estimate);
  EXPECT_DOUBLE_EQ(estimate->value, 2);
  EXPECT_FALSE(estimate->interval);
  EXPECT_DOUBLE_EQ(quantile(windows_of({{1, 2, 3}}), 0.75)->value, 2.5);
  EXPECT_DOUBLE_EQ(quantile(windows_of({{1, 2, 3}}), 0)->value, 1);
  EXPECT_DOUBLE_EQ(quantile(windows_of({{1, 2, 3}}), 1)->value, 3);
}

TEST(Summary, InfinitiesStayInfinite) {
  const Windows samples = windows_of({{1, INFINITY}, {2, 3}, {4, 5}, {1, 1}});
  EXPECT_EQ(perplexity(samples)->value, INFINITY);
  EXPECT_EQ(mean(samples)->interval->high, INFINITY);
  EXPECT_TRUE(std::isfinite(mean(samples)->interval->low));
  EXPECT_EQ(quantile(samples, 0.99)->value, INFINITY);
  EXPECT_EQ(quantile(samples, 0.5)->value, 2.5);
  EXPECT_EQ(mean_difference(samples, samples)->value, 0);
  EXPECT_FALSE(mean(windows_of({{INFINITY}, {-INFINITY}})));
}

TEST(Summary, RefusesWhatHasNoAnswer) {
  const Windows samples = windows_of({{1, 2}, {3}});
  EXPECT_FALSE(mean({}));
  EXPECT_FALSE(mean(windows_of({{1, std::numeric_limits<double>::quiet_NaN()}})));
  EXPECT_FALSE(mean(samples, {.resamples = 0}));
  EXPECT_FALSE(mean(samples, {.resamples = 100001}));
  EXPECT_FALSE(quantile(samples, 1.5));
  EXPECT_FALSE(quantile(samples, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(mean_difference(samples, windows_of({{1}, {2, 3}})));
  EXPECT_FALSE(mean_difference(samples, windows_of({{1, 2, 3}})));
}

}  // namespace
}  // namespace lamina::eval

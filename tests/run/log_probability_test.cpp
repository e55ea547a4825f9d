#include "run/log_probability.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

namespace lamina::run {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
const std::vector<float> kLogits{1.5f, -2, 0.25f, 7, 6.9375f, -300, 3};

// scipy.special.logsumexp and log_softmax of the row above, in double.
TEST(LogProbability, AgreesWithScipy) {
  EXPECT_NEAR(log_sum_exp(kLogits), 7.674529829454762, 1e-14);
  const std::array<double, 7> expected{-6.174529829454762, -9.674529829454762,  -7.424529829454762, -0.674529829454762,
                                       -0.737029829454762, -307.67452982945474, -4.674529829454762};
  const std::array<int32_t, 7> ids{0, 1, 2, 3, 4, 5, 6};
  std::array<double, 7> found{};
  log_probabilities(kLogits, ids, found);
  for (size_t i = 0; i < 7; ++i) EXPECT_NEAR(found[i], expected[i], 1e-13);
}

TEST(LogProbability, TopTokensComeInOrder) {
  const auto top = top_log_probabilities(kLogits, 3);
  ASSERT_EQ(top.size(), 3U);
  EXPECT_EQ(top[0].id, 3);
  EXPECT_EQ(top[1].id, 4);
  EXPECT_EQ(top[2].id, 6);
  EXPECT_NEAR(top[2].log_probability, -4.674529829454762, 1e-13);
  EXPECT_EQ(top_log_probabilities(kLogits, 100).size(), kLogits.size());
  EXPECT_TRUE(top_log_probabilities(kLogits, 0).empty());
  EXPECT_TRUE(top_log_probabilities(kLogits, -1).empty());
  const auto ties = top_log_probabilities(std::vector<float>(50, 2.0f), 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ties[static_cast<size_t>(i)].id, i);
  EXPECT_NEAR(ties[0].log_probability, -std::log(50.0), 1e-14);
}

TEST(LogProbability, PassesOverWhatIsNoNumber) {
  const std::vector<float> logits{kNan, 0, -kInf, 0};
  EXPECT_NEAR(log_sum_exp(logits), std::log(2.0), 1e-15);
  const std::array<int32_t, 5> ids{0, 1, 2, -1, 4};
  std::array<double, 5> found{};
  log_probabilities(logits, ids, found);
  EXPECT_EQ(found[0], -INFINITY);
  EXPECT_NEAR(found[1], -std::log(2.0), 1e-15);
  EXPECT_EQ(found[2], -INFINITY);
  EXPECT_EQ(found[3], -INFINITY);
  EXPECT_EQ(found[4], -INFINITY);
  EXPECT_EQ(top_log_probabilities(logits, 4).size(), 2U);
  EXPECT_EQ(log_sum_exp(std::vector<float>{}), -INFINITY);
  EXPECT_EQ(log_sum_exp(std::vector<float>{-kInf, kNan}), -INFINITY);
  EXPECT_TRUE(top_log_probabilities(std::vector<float>{-kInf, kNan}, 2).empty());
  const auto certain = top_log_probabilities(std::vector<float>{0, kInf, 1}, 1);
  EXPECT_EQ(certain[0].id, 1);
  EXPECT_EQ(certain[0].log_probability, 0);
}

}  // namespace
}  // namespace lamina::run

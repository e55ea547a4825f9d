#include "eval/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "support/source_dir.h"

namespace lamina::eval {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Row = std::vector<float>;

// metrics_reference.json is made by make_reference.py with scipy.
TEST(Metrics, AgreeWithScipy) {
  std::ifstream file(source_dir() / "tests/eval/metrics_reference.json");
  const nlohmann::json data = nlohmann::json::parse(file);
  ASSERT_EQ(data["rows"].size(), 4U);
  for (const auto& row : data["rows"]) {
    const Row reference = row["reference"];
    const Row model = row["model"];
    const double nll = row["nll"];
    const double kl = row["kl"];
    EXPECT_NEAR(*negative_log_likelihood(model, row["target"]), nll, 1e-13 * (1 + nll));
    EXPECT_NEAR(*kl_divergence(reference, model), kl, 1e-12 * (1 + kl));
    EXPECT_EQ(*same_top1(reference, model), row["same"].get<bool>());
  }
}

TEST(Metrics, HandMadeRows) {
  EXPECT_DOUBLE_EQ(*negative_log_likelihood(Row(8, -3), 5), std::log(8.0));
  EXPECT_DOUBLE_EQ(*negative_log_likelihood(Row{0, -kInf, 0}, 0), std::log(2.0));
  EXPECT_EQ(*negative_log_likelihood(Row{0, -kInf, 0}, 1), INFINITY);
  EXPECT_EQ(*negative_log_likelihood(Row{4}, 0), 0);
  // p = (1/2, 1/2), q = (1/4, 3/4): ln 2 / 2 + ln(2/3) / 2.
  EXPECT_NEAR(*kl_divergence(Row{1, 1}, Row{0, std::log(3.0f)}), 0.5 * std::log(4.0 / 3.0), 1e-7);
  EXPECT_EQ(*kl_divergence(Row{1, 2, 3}, Row{1, 2, 3}), 0);
  EXPECT_NEAR(*kl_divergence(Row{1, 2, 3}, Row{11, 12, 13}), 0, 1e-15);
  EXPECT_EQ(*kl_divergence(Row{0, 0}, Row{0, -kInf}), INFINITY);
  EXPECT_DOUBLE_EQ(*kl_divergence(Row{0, -kInf}, Row{0, 0}), std::log(2.0));
  EXPECT_EQ(*kl_divergence(Row{0, -kInf}, Row{0, -kInf}), 0);
  EXPECT_EQ(*top1(Row{1, 5, 5}), 1);
  EXPECT_FALSE(*same_top1(Row{1, 5, 5}, Row{1, 4, 5}));
}

TEST(Metrics, StayFiniteAtTheEndsOfTheRange) {
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(*negative_log_likelihood(Row{most, -most}, 0), 0);
  EXPECT_EQ(*negative_log_likelihood(Row{most, -most}, 1), 2.0 * most);
  EXPECT_EQ(*kl_divergence(Row{most, -most}, Row{-most, most}), 2.0 * most);
  EXPECT_GE(*kl_divergence(Row{1e-3f, 0, 0}, Row{1e-3f, 1e-9f, 0}), 0);
}

TEST(Metrics, RefuseWhatHasNoAnswer) {
  for (const Row& bad : {Row{0, kNan, 1}, Row{0, kInf, 1}}) {
    const auto result = negative_log_likelihood(bad, 0);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, core::ErrorCode::kCorrupt);
    EXPECT_THAT(result.error().message, testing::HasSubstr("token 1 has"));
    EXPECT_FALSE(kl_divergence(bad, Row{0, 0, 0}));
    EXPECT_FALSE(kl_divergence(Row{0, 0, 0}, bad));
    EXPECT_FALSE(same_top1(Row{0, 0, 0}, bad));
  }
  EXPECT_FALSE(top1(Row{-kInf, -kInf}));
  EXPECT_FALSE(top1(Row{}));
  EXPECT_FALSE(negative_log_likelihood(Row{0, 1}, 2));
  EXPECT_FALSE(negative_log_likelihood(Row{0, 1}, -1));
  EXPECT_FALSE(kl_divergence(Row{0, 1}, Row{0, 1, 2}));
}

}  // namespace
}  // namespace lamina::eval

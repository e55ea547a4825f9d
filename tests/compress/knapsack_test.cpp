#include "compress/knapsack.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace lamina::compress {
namespace {

using Items = std::vector<std::vector<Choice>>;

Items random_items(std::mt19937& random, size_t count, size_t choices) {
  Items items(count);
  for (auto& item : items) {
    const double size = 1 + static_cast<double>(random() % 100);
    for (size_t c = 0; c < choices; ++c) {
      const int64_t bytes = 1 + static_cast<int64_t>(random() % 1000);
      item.push_back({bytes, size * static_cast<double>(random() % 1000) / static_cast<double>(bytes)});
    }
  }
  return items;
}

/// The least error of all selections within the budget.
double best_error(const Items& items, int64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<size_t> chosen(items.size());
  while (true) {
    int64_t bytes = 0;
    double error = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      bytes += items[i][chosen[i]].bytes;
      error += items[i][chosen[i]].error;
    }
    if (bytes <= budget) best = std::min(best, error);
    size_t i = 0;
    while (i < items.size() && ++chosen[i] == items[i].size()) chosen[i++] = 0;
    if (i == items.size()) return best;
  }
}

TEST(Knapsack, FindsNearlyTheBestAndNeverTakesMoreThanTheBudget) {
  std::mt19937 random(1);
  int exact = 0;
  constexpr int kTrials = 200;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Items items = random_items(random, 6, 4);
    const int64_t budget = least_bytes(items) + static_cast<int64_t>(random() % 1500);
    const auto found = choose_within(items, budget);
    ASSERT_TRUE(found);
    ASSERT_EQ(found->chosen.size(), items.size());
    int64_t bytes = 0;
    double error = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      bytes += items[i][found->chosen[i]].bytes;
      error += items[i][found->chosen[i]].error;
    }
    EXPECT_EQ(found->bytes, bytes);
    EXPECT_NEAR(found->error, error, 1e-9 * error + 1e-12);
    EXPECT_LE(bytes, budget);
    const double best = best_error(items, budget);
    EXPECT_LE(found->bound, best * (1 + 1e-9));
    EXPECT_LE(found->error, best * 1.25 + 1e-9);
    exact += found->error <= best * (1 + 1e-9) + 1e-12 ? 1 : 0;
  }
  EXPECT_GT(exact, kTrials * 8 / 10);
}

TEST(Knapsack, ComesCloseToItsBoundWhereItemsAreMany) {
  std::mt19937 random(2);
  const Items items = random_items(random, 200, 8);
  const auto found = choose_within(items, least_bytes(items) + 20000);
  ASSERT_TRUE(found);
  EXPECT_GT(found->bound, 0);
  EXPECT_LT(found->error, found->bound * 1.01);
}

TEST(Knapsack, TakesTheBestOfAllWhereTheBudgetAllowsAndNothingWhereItCannot) {
  const Items items{{{10, 5}, {20, 1}}, {{5, 2}, {8, 0}}};
  EXPECT_EQ(least_bytes(items), 15);
  EXPECT_FALSE(choose_within(items, 14));
  EXPECT_EQ(choose_within(items, 15)->chosen, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(choose_within(items, 28)->chosen, (std::vector<size_t>{1, 1}));
  EXPECT_EQ(choose_within(items, 28)->bound, 1);
  EXPECT_EQ(choose_within(items, 27)->chosen, (std::vector<size_t>{1, 0}));
}

}  // namespace
}  // namespace lamina::compress

#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace lamina::core {
namespace {

TEST(SplitRange, CoversEverythingOnceInWholeGrains) {
  for (int64_t total : {0, 1, 15, 16, 17, 1000}) {
    for (int parts : {1, 2, 3, 5, 64}) {
      int64_t next = 0;
      for (int i = 0; i < parts; ++i) {
        const Range range = split_range(total, 16, i, parts);
        EXPECT_EQ(range.begin, next);
        EXPECT_TRUE(range.end == total || range.end % 16 == 0) << range.end;
        next = range.end;
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(ThreadPool, RunsEachIndexOnceManyTimes) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<int> counts(static_cast<size_t>(threads) * 64);
    for (int round = 0; round < 2000; ++round) {
      pool.run([&](int index, int count) {
        EXPECT_EQ(count, threads);
        ++counts[static_cast<size_t>(index) * 64];
      });
    }
    for (int i = 0; i < threads; ++i) EXPECT_EQ(counts[static_cast<size_t>(i) * 64], 2000);
  }
}

TEST(ThreadPool, RunsOnManyThreads) {
  ThreadPool pool(64);
  std::atomic<int> sum{0};
  for (int round = 0; round < 20; ++round) pool.run([&](int index, int) { sum += index + 1; });
  EXPECT_EQ(sum, 20 * 65 * 32);
}

/// Threads that sleep must wake, and what was written before a run must be seen in it.
TEST(ThreadPool, WakesAfterAPause) {
  ThreadPool pool(3);
  std::array<int, 3> seen{};
  for (int round = 1; round <= 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    int value = round;
    pool.run([&](int index, int) { seen[static_cast<size_t>(index)] = value; });
    EXPECT_EQ(seen, (std::array{round, round, round}));
  }
}

}  // namespace
}  // namespace lamina::core

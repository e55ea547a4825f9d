#include "run/machine.h"

#include <gtest/gtest.h>

namespace lamina::run {
namespace {

// Bounds that any machine of the last decades keeps, and that a loop which the compiler removed does not.
TEST(Machine, PeaksAreThoseOfARealMachine) {
  core::ThreadPool pool(1);
  auto meter = ReadMeter::create(pool);
  ASSERT_TRUE(meter) << meter.error().text();
  EXPECT_GT(meter->pass(), 50e6);
  EXPECT_LT(meter->best(0.05), 2e12);
  const double float32 = measure_float_peak(pool, 0.05);
  EXPECT_GT(float32, 10e6);
  EXPECT_LT(float32, 2e12);  // two 512-bit units at 10 GHz are 0.64e12
  const double int8 = measure_int8_peak(pool, 0.05);
  EXPECT_GT(int8, 10e6);
  EXPECT_LT(int8, 8e12);
}

TEST(Machine, CachesGrowWithTheirLevel) {
  const CacheSizes sizes = cache_sizes();
  if (sizes.l1 > 0 && sizes.l2 > 0) {
    EXPECT_LT(sizes.l1, sizes.l2);
  }
  EXPECT_FALSE(huge_pages().empty());
}

}  // namespace
}  // namespace lamina::run

#include "kernels/peak.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace lamina::kernels {
namespace {

TEST(Peak, EveryVariantReadsEveryByteOnce) {
  alignas(64) std::array<uint64_t, 1024> words{};
  uint64_t sum = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = i * 0x9E3779B97F4A7C15U;
    sum += words[i];
  }
  for (const PeakVariant* variant : peak_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    const auto* data = reinterpret_cast<const std::byte*>(words.data());
    EXPECT_EQ(variant->read(data, sizeof words), sum) << core::isa_name(variant->isa);
  }
}

TEST(Peak, OperationsGrowWithRounds) {
  for (const PeakVariant* variant : peak_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    EXPECT_EQ(variant->multiply_float(0), 0);
    EXPECT_GT(variant->multiply_float(3), 0);
    EXPECT_EQ(variant->multiply_float(300), 100 * variant->multiply_float(3));
    EXPECT_EQ(variant->multiply_int8(300), 100 * variant->multiply_int8(3));
    if (variant->multiply_bf16 == nullptr) continue;
    EXPECT_EQ(variant->multiply_bf16(300), 100 * variant->multiply_bf16(3));
    EXPECT_GT(variant->multiply_bf16(3), variant->multiply_float(3));
  }
}

TEST(Peak, TilesCountTheirOperations) {
  int run = 0;
  for (const TilePeak* peak : tile_peaks()) {
    if (!core::cpu_has(peak->isa)) continue;
    ++run;
    const int64_t inputs = peak->isa == core::Isa::kAmxInt8 ? 64 : 32;
    EXPECT_EQ(peak->registers(3), 3 * 4 * 16 * 16 * inputs * 2);
    EXPECT_EQ(peak->cached(3), peak->registers(3));
  }
  if (run == 0) GTEST_SKIP() << "no tiles here: " << core::isa_gap(core::Isa::kAmxInt8);
}

TEST(Peak, ChoosesAnAllowedVariant) {
  EXPECT_TRUE(core::isa_allowed(peak_variant().isa));
}

}  // namespace
}  // namespace lamina::kernels

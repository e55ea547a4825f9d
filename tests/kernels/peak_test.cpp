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
  }
}

TEST(Peak, ChoosesAnAllowedVariant) {
  EXPECT_TRUE(core::isa_allowed(peak_variant().isa));
}

}  // namespace
}  // namespace lamina::kernels

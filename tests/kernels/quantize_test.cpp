#include "kernels/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <tuple>
#include <vector>

namespace lamina::kernels {
namespace {

/// Blocks of very different size, with halves to round, zeros, denormals, infinity and NaN among them.
std::vector<float> numbers(size_t count) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t block = i / 32;
    x[i] = normal(random) * std::exp2(static_cast<float>(block % 61) * 4 - 120);
    if (block % 7 == 1) x[i] = static_cast<float>(static_cast<int>(random() % 255) - 127) * 0.5F;
    if (block % 7 == 1 && i % 32 == 5) x[i] = 127.0F;
    if (block % 19 == 3) x[i] = 0.0F;
    if (block % 19 == 4) x[i] = i % 2 == 0 ? 1e-40F : -0.0F;
    if (block % 23 == 5 && i % 32 == 31) x[i] = -std::numeric_limits<float>::infinity();
    if (block % 23 == 6 && i % 32 == 0) x[i] = std::numeric_limits<float>::quiet_NaN();
    if (block % 23 == 7) x[i] = (i % 3 == 0 ? 1.0F : -1.0F) * std::numeric_limits<float>::max();
  }
  return x;
}

/// What stays of a row, by sorting it.
std::vector<int32_t> largest(std::span<const float> x, int64_t kept) {
  const auto size = [&](int32_t i) {
    const float value = std::fabs(x[static_cast<size_t>(i)]);
    return std::isnan(value) ? std::numeric_limits<double>::infinity() : double{value};
  };
  std::vector<int32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {},
                    [&](int32_t i) { return std::tuple(!std::isnan(x[static_cast<size_t>(i)]), -size(i), i); });
  order.resize(static_cast<size_t>(kept));
  std::ranges::sort(order);
  return order;
}

TEST(Quantize, TheLargestNumbersOfARowStay) {
  std::vector<float> ties(300);
  for (size_t i = 0; i < ties.size(); ++i) ties[i] = static_cast<float>(static_cast<int>(i * 7 % 5) - 2);
  const std::vector<float> zeros(40, 0.0F);
  for (const std::vector<float>& x : {numbers(1000), numbers(1), ties, zeros}) {
    const auto inputs = std::ssize(x);
    for (const int64_t kept : {int64_t{1}, inputs / 3, inputs / 2, inputs - 1, inputs}) {
      if (kept < 1) continue;
      const LargestRow row = LargestRow::of(inputs, kept);
      std::vector<std::byte> out(static_cast<size_t>(row.bytes));
      quantize_rows({.kind = InputForm::kLargest, .inputs = inputs, .kept = kept, .row_bytes = row.bytes}, x.data(),
                    inputs, 1, out.data());
      const std::vector<int32_t> wanted = largest(x, kept);
      std::vector<int32_t> active(static_cast<size_t>(kept));
      std::memcpy(active.data(), out.data() + row.inputs, active.size() * sizeof(int32_t));
      ASSERT_EQ(active, wanted) << kept << " of " << inputs;
      std::vector<float> expected(x.size(), 0.0F);
      for (const int32_t i : wanted) expected[static_cast<size_t>(i)] = x[static_cast<size_t>(i)];
      ASSERT_EQ(std::memcmp(out.data(), expected.data(), expected.size() * sizeof(float)), 0) << kept;
    }
  }
}

TEST(Quantize, AllVariantsWriteTheSameBytes) {
  constexpr int64_t kInputs = 256 * 161;
  const std::vector<float> x = numbers(kInputs);
  size_t tested = 0;
  for (const QuantizeVariant* variant : quantize_variants()) {
    if (!core::isa_allowed(variant->isa)) continue;
    ++tested;
    const auto compare = [&](auto function, auto wanted, int64_t inputs, int64_t bytes) {
      std::vector<std::byte> out(static_cast<size_t>(bytes));
      std::vector<std::byte> expected(static_cast<size_t>(bytes));
      function(x.data(), inputs, out.data());
      wanted(x.data(), inputs, expected.data());
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_EQ(out[i], expected[i]) << core::isa_name(variant->isa) << " byte " << i << ", " << inputs << " inputs";
      }
    };
    for (const int64_t inputs : {int64_t{32}, int64_t{96}, int64_t{576}, kInputs}) {
      compare(variant->block_row, ref::kQuantize.block_row, inputs, BlockRow::of(inputs).bytes);
    }
    for (const int64_t inputs : {int64_t{1}, int64_t{31}, int64_t{577}, kInputs}) {
      compare(variant->bf16_row, ref::kQuantize.bf16_row, inputs, bf16_row_bytes(inputs));
    }
    for (const int64_t inputs : {int64_t{256}, int64_t{768}, kInputs}) {
      compare(variant->super_row, ref::kQuantize.super_row, inputs, SuperRow::of(inputs).bytes);
    }
  }
  EXPECT_GE(tested, 1U);
}

/// The nearer of the two neighbours with 16 bits, the even one from the middle.
TEST(Quantize, PortableBfloatsAreTheNearest) {
  const std::vector<float> x = numbers(256 * 20);
  std::vector<std::byte> out(static_cast<size_t>(bf16_row_bytes(256 * 20)));
  ref::kQuantize.bf16_row(x.data(), 256 * 20, out.data());
  for (size_t i = 0; i < x.size(); ++i) {
    uint32_t bits = 0;
    uint16_t got = 0;
    std::memcpy(&bits, &x[i], 4);
    std::memcpy(&got, out.data() + 2 * i, 2);
    if (std::isnan(x[i])) {
      ASSERT_GT(got & 0x7fff, 0x7f80);
      continue;
    }
    const uint32_t below = bits & 0xffffU;  // distance to the neighbour nearer to zero; the other is 0x10000 away
    const bool up = below > 0x8000U || (below == 0x8000U && (bits >> 16 & 1U) != 0);
    ASSERT_EQ(got, (bits >> 16) + (up ? 1U : 0U)) << x[i];
  }
}

/// The portable quantizer against its definition, rounded by the standard library.
TEST(Quantize, PortableRowFollowsItsDefinition) {
  constexpr int64_t kInputs = 256 * 20;
  const std::vector<float> x = numbers(kInputs);
  const BlockRow row = BlockRow::of(kInputs);
  std::vector<std::byte> out(static_cast<size_t>(row.bytes));
  ref::kQuantize.block_row(x.data(), kInputs, out.data());
  for (int64_t b = 0; b < kInputs / 32; ++b) {
    float amax = 0;
    bool finite = true;
    for (int64_t i = 0; i < 32; ++i) {
      const float value = std::abs(x[static_cast<size_t>(32 * b + i)]);
      finite = finite && std::isfinite(value);
      amax = std::max(amax, value);
    }
    float d = 0;
    std::memcpy(&d, out.data() + row.scale + 4 * b, 4);
    ASSERT_EQ(std::isnan(d), !finite) << b;
    const bool zero = !finite || amax < 0x1p-110F;
    if (finite) {
      ASSERT_EQ(d, zero ? 0.0F : amax / 127) << b;
    }
    int32_t sum = 0;
    for (int64_t i = 0; i < 32; ++i) {
      const float wanted = zero ? 0.0F : std::nearbyint(x[static_cast<size_t>(32 * b + i)] * (127 / amax));
      const auto q = static_cast<int8_t>(out[static_cast<size_t>(32 * b + i)]);
      ASSERT_EQ(q, static_cast<int>(wanted)) << b << " " << i;
      sum += q;
    }
    int32_t bias = 0;
    std::memcpy(&bias, out.data() + row.bias + 4 * b, 4);
    ASSERT_EQ(bias, -128 * sum);
  }
}

}  // namespace
}  // namespace lamina::kernels

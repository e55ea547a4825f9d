#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/activation.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/softmax.h"

namespace lamina::kernels {
namespace {

std::vector<float> normal(int64_t count, unsigned seed, float spread = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0.1F, spread);
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v) x = distribution(random);
  return v;
}

/// Every 97th float32 from -range to range, and the special ones.
std::vector<float> sweep(float range) {
  std::vector<float> v{0.0F, -0.0F};
  for (uint32_t bits = 0x30000000U; std::bit_cast<float>(bits) < range; bits += 977U) {
    v.push_back(std::bit_cast<float>(bits));
    v.push_back(-std::bit_cast<float>(bits));
  }
  return v;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double ulps(float got, double truth) {
  if (truth == 0.0) return got == 0.0F ? 0 : 1e9;
  const double unit = std::max(std::ldexp(1.0, std::ilogb(truth) - 23), 0x1p-149);
  return std::fabs(static_cast<double>(got) - truth) / unit;
}

constexpr int64_t kSizes[] = {1, 2, 7, 8, 15, 16, 17, 24, 31, 33, 64, 100, 576, 1000};

class Rows : public testing::Test {
 protected:
  void SetUp() override { core::set_float_mode(); }
};

TEST_F(Rows, NormsMatchDoublePrecision) {
  for (const int64_t n : kSizes) {
    const auto x = normal(n, 1, 3.0F);
    const auto weight = normal(n, 2);
    const auto bias = normal(n, 3);
    double sum = 0;
    double squares = 0;
    for (const float v : x) {
      sum += static_cast<double>(v);
      squares += static_cast<double>(v) * static_cast<double>(v);
    }
    const double mean = sum / static_cast<double>(n);
    double variance = 0;
    for (const float v : x) variance += std::pow(static_cast<double>(v) - mean, 2) / static_cast<double>(n);
    std::vector<float> rms(x.size());
    std::vector<float> layer(x.size());
    rms_norm(x.data(), weight.data(), rms.data(), n, 1e-5F, 1.0F);
    layer_norm(x.data(), weight.data(), bias.data(), layer.data(), n, 1e-5F);
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = static_cast<double>(x[i]);
      const double w = static_cast<double>(weight[i]);
      EXPECT_NEAR(rms[i], v / std::sqrt(squares / static_cast<double>(n) + 1e-5) * (w + 1), 4e-6);
      EXPECT_NEAR(layer[i], (v - mean) / std::sqrt(variance + 1e-5) * w + static_cast<double>(bias[i]), 4e-6);
    }
  }
}

TEST_F(Rows, NormsHaveTheSameBitsInEveryVariant) {
  for (const int64_t n : kSizes) {
    const auto x = normal(n, 4, 5.0F);
    const auto weight = normal(n, 5);
    const auto bias = normal(n, 6);
    for (const auto* variant : norm_variants().subspan(1)) {
      if (!core::cpu_has(variant->isa)) continue;
      for (const bool plain : {false, true}) {
        const float* w = plain ? nullptr : weight.data();
        const float* b = plain ? nullptr : bias.data();
        std::vector<float> got(x.size());
        std::vector<float> expected(x.size());
        norm_variants()[0]->rms_norm(x.data(), w, expected.data(), n, 1e-6F, 1.0F);
        variant->rms_norm(x.data(), w, got.data(), n, 1e-6F, 1.0F);
        EXPECT_TRUE(same_bits(got, expected)) << n;
        norm_variants()[0]->layer_norm(x.data(), w, b, expected.data(), n, 1e-6F);
        got = x;
        variant->layer_norm(got.data(), w, b, got.data(), n, 1e-6F);
        EXPECT_TRUE(same_bits(got, expected)) << n;
      }
    }
  }
}

double exact(Activation activation, double x) {
  switch (activation) {
    case Activation::kIdentity:
      return x;
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGeluErf:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluQuick:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kRelu2:
      return x < 0 ? 0 : x * x;
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::kTanh:
      return std::tanh(x);
  }
  return 0;
}

constexpr Activation kAll[] = {Activation::kIdentity, Activation::kSilu,      Activation::kGeluTanh,
                               Activation::kGeluErf,  Activation::kGeluQuick, Activation::kRelu,
                               Activation::kRelu2,    Activation::kSigmoid,   Activation::kTanh};

TEST_F(Rows, ActivationsKeepTheirStatedAccuracy) {
  const auto x = sweep(30.0F);
  std::vector<float> out(x.size());
  for (const Activation activation : kAll) {
    activate(activation, x.data(), static_cast<int64_t>(x.size()), out.data());
    double worst_ulp = 0;
    double worst_share = 0;
    const bool gelu = activation == Activation::kGeluTanh || activation == Activation::kGeluErf ||
                      activation == Activation::kGeluQuick;
    for (size_t i = 0; i < x.size(); ++i) {
      const double truth = exact(activation, static_cast<double>(x[i]));
      if (gelu && x[i] < 0) {
        const double share = std::fabs(static_cast<double>(out[i]) - truth) / std::fabs(static_cast<double>(x[i]));
        worst_share = std::max(worst_share, share);
      } else {
        worst_ulp = std::max(worst_ulp, ulps(out[i], truth));
      }
    }
    RecordProperty(std::string(activation_name(activation)) + "_ulp", std::to_string(worst_ulp));
    RecordProperty(std::string(activation_name(activation)) + "_share", std::to_string(worst_share * 1e9));
    EXPECT_LE(worst_ulp, 3.0) << activation_name(activation);
    EXPECT_LE(worst_share, 1.2e-7) << activation_name(activation);
  }
}

TEST_F(Rows, ElementwiseHaveTheSameBitsInEveryVariant) {
  auto x = sweep(1e30F);
  x.insert(x.end(), {INFINITY, -INFINITY, 88.5F, -88.5F, -87.0F});
  const auto up = normal(static_cast<int64_t>(x.size()), 8);
  const auto n = static_cast<int64_t>(x.size());
  const auto& scalar = *activation_variants()[0];
  for (const auto* variant : activation_variants().subspan(1)) {
    if (!core::cpu_has(variant->isa)) continue;
    std::vector<float> got(x.size());
    std::vector<float> expected(x.size());
    for (const Activation activation : kAll) {
      scalar.activate(activation, x.data(), n - 5, expected.data());
      variant->activate(activation, x.data(), n - 5, got.data());
      EXPECT_TRUE(same_bits(got, expected)) << activation_name(activation);
      scalar.activate_multiply(activation, x.data(), up.data(), n - 5, expected.data());
      variant->activate_multiply(activation, x.data(), up.data(), n - 5, got.data());
      EXPECT_TRUE(same_bits(got, expected)) << activation_name(activation);
    }
    for (const GateBounds bounds : {GateBounds{}, GateBounds{.limit = 0.75F, .up_offset = 1.0F}}) {
      scalar.activate_multiply_bounded(Activation::kGeluQuick, bounds, x.data(), up.data(), n - 5, expected.data());
      variant->activate_multiply_bounded(Activation::kGeluQuick, bounds, x.data(), up.data(), n - 5, got.data());
      EXPECT_TRUE(same_bits(got, expected)) << "within " << bounds.limit;
    }
    scalar.soft_cap(x.data(), 30.0F, n, expected.data());
    variant->soft_cap(x.data(), 30.0F, n, got.data());
    EXPECT_TRUE(same_bits(got, expected));
    scalar.scale(x.data(), 0.3F, n, expected.data());
    variant->scale(x.data(), 0.3F, n, got.data());
    EXPECT_TRUE(same_bits(got, expected));
    scalar.add_scaled(up.data(), 0.7F, n, expected.data());
    variant->add_scaled(up.data(), 0.7F, n, got.data());
    EXPECT_TRUE(same_bits(got, expected));
    scalar.add(x.data(), up.data(), n - 5, expected.data());
    variant->add(x.data(), up.data(), n - 5, got.data());
    EXPECT_TRUE(same_bits(got, expected));
    scalar.multiply(x.data(), up.data(), n - 5, expected.data());
    variant->multiply(x.data(), up.data(), n - 5, got.data());
    EXPECT_TRUE(same_bits(got, expected));
  }
}

TEST_F(Rows, BoundedGatesMatchDoublePrecision) {
  const auto gate = normal(300, 10, 6.0F);
  const auto up = normal(300, 11, 6.0F);
  std::vector<float> got(gate.size());
  activate_multiply_bounded(Activation::kGeluQuick, {.limit = 7.0F, .up_offset = 1.0F}, gate.data(), up.data(), 300,
                            got.data());
  int bounded = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = std::min(static_cast<double>(gate[i]), 7.0);
    const double u = std::clamp(static_cast<double>(up[i]), -7.0, 7.0);
    const double truth = g / (1 + std::exp(-1.702 * g)) * (u + 1);
    EXPECT_NEAR(got[i], truth, 1e-6 * std::max(1.0, std::fabs(truth)));
    bounded += gate[i] > 7 || std::fabs(up[i]) > 7;
  }
  EXPECT_GT(bounded, 30);
}

TEST_F(Rows, ActivationsOfNanAreNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto* variant : activation_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    for (const Activation activation : kAll) {
      float out[3];
      const float in[3] = {1.0F, nan, -1.0F};
      variant->activate(activation, in, 3, out);
      EXPECT_TRUE(std::isnan(out[1])) << activation_name(activation);
      EXPECT_FALSE(std::isnan(out[0]) || std::isnan(out[2]));
    }
  }
}

TEST_F(Rows, SoftmaxAndLogSumExp) {
  for (const int64_t n : {int64_t{1}, int64_t{15}, int64_t{17}, int64_t{4096}, int64_t{4097}, int64_t{50000}}) {
    const auto x = normal(n, 9, 4.0F);
    double top = -1e30;
    for (const float v : x) top = std::max(top, static_cast<double>(v));
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v) - top);
    std::vector<float> expected(x.size());
    softmax_variants()[0]->softmax(x.data(), n, expected.data());
    const double expected_log = softmax_variants()[0]->log_sum_exp(x.data(), n);
    EXPECT_NEAR(expected_log, top + std::log(sum), 1e-6);
    for (size_t i = 0; i < x.size(); ++i) {
      const double truth = std::exp(static_cast<double>(x[i]) - top) / sum;
      // Half an ulp of x - top turns into its size times 2^-24 of the result.
      EXPECT_NEAR(expected[i], truth, (1e-6 + (top - static_cast<double>(x[i])) * 0x1p-24) * truth);
    }
    for (const auto* variant : softmax_variants().subspan(1)) {
      if (!core::cpu_has(variant->isa)) continue;
      std::vector<float> got = x;
      variant->softmax(got.data(), n, got.data());
      EXPECT_TRUE(same_bits(got, expected));
      EXPECT_EQ(variant->log_sum_exp(x.data(), n), expected_log);
    }
  }
}

TEST_F(Rows, ArgmaxTakesTheLowestIndexAndNeverNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float low = -std::numeric_limits<float>::infinity();
  for (const auto* variant : softmax_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    auto x = normal(1000, 10);
    for (const size_t place : {size_t{0}, size_t{15}, size_t{16}, size_t{500}, size_t{999}}) {
      auto y = x;
      y[place] = 50.0F;
      y[999] = 50.0F;
      if (place > 0) y[0] = nan;
      EXPECT_EQ(variant->argmax(y.data(), 1000), static_cast<int64_t>(place));
    }
    const float negative[3] = {nan, low, low};
    EXPECT_EQ(variant->argmax(negative, 3), 1);
    const float nothing[2] = {nan, nan};
    EXPECT_EQ(variant->argmax(nothing, 2), 0);
  }
}

TEST_F(Rows, RopeTurnsBothOrdersAndLeavesTheRest) {
  RopeOptions options;
  for (const int64_t rotary : {2, 8, 20, 32, 34, 64}) {
    options.rotary = rotary;
    const auto frequencies = rope_frequencies(options);
    ASSERT_TRUE(frequencies.has_value());
    const auto half = static_cast<size_t>(rotary / 2);
    std::vector<float> cosines(half * 4);
    std::vector<float> sines(half * 4);
    rope_table(*frequencies, 1000, 4, cosines.data(), sines.data());
    for (const auto order : {RopeOrder::kHalves, RopeOrder::kPairs}) {
      const auto before = normal(3 * 70, 11);
      std::vector<float> expected;
      for (const auto* variant : rope_variants()) {
        if (!core::cpu_has(variant->isa)) continue;
        auto x = before;
        variant->rope({x.data(), 3, 70, rotary, order, cosines.data() + 2 * half, sines.data() + 2 * half});
        if (expected.empty()) expected = x;
        EXPECT_TRUE(same_bits(x, expected)) << core::isa_name(variant->isa) << " " << rotary;
      }
      for (size_t head = 0; head < 3; ++head) {
        for (size_t i = 0; i < half; ++i) {
          const size_t a = head * 70 + (order == RopeOrder::kPairs ? 2 * i : i);
          const size_t b = order == RopeOrder::kPairs ? a + 1 : a + half;
          const double angle = 1002.0 / std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(rotary));
          const double x = static_cast<double>(before[a]);
          const double y = static_cast<double>(before[b]);
          EXPECT_NEAR(expected[a], x * std::cos(angle) - y * std::sin(angle), 2e-4);
          EXPECT_NEAR(expected[b], x * std::sin(angle) + y * std::cos(angle), 2e-4);
        }
        for (auto i = static_cast<size_t>(rotary); i < 70; ++i)
          EXPECT_EQ(expected[head * 70 + i], before[head * 70 + i]);
      }
    }
  }
}

}  // namespace
}  // namespace lamina::kernels

#include "kernels/recurrence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/thread_pool.h"

namespace lamina::kernels {
namespace {

std::vector<float> uniform(int64_t count, unsigned seed, float low = -1.0F, float high = 1.0F) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v) x = distribution(random);
  return v;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// What a kernel leaves behind.
struct Outcome {
  std::vector<float> out;
  std::vector<float> state;
};

constexpr int64_t kRows = 21;

struct Convolution {
  int64_t channels = 0;
  int64_t width = 0;
  bool bias = false;

  /// In calls of that many rows; the arrays have room between their rows.
  Outcome run(const RecurrenceVariant& variant, int64_t piece) const {
    const int64_t stride = channels + 3;
    const auto x = uniform(kRows * stride, 1);
    const auto weights = uniform(width * stride, 2);
    const auto biases = uniform(channels, 3);
    Outcome made{.out = std::vector<float>(static_cast<size_t>(kRows * stride), -7.0F),
                 .state = uniform((width - 1) * stride + 1, 4)};
    for (int64_t row = 0; row < kRows; row += piece) {
      variant.convolve({.rows = std::min(piece, kRows - row),
                        .channels = channels,
                        .width = width,
                        .x = x.data() + row * stride,
                        .x_stride = stride,
                        .weights = weights.data(),
                        .weight_stride = stride,
                        .bias = bias ? biases.data() : nullptr,
                        .state = made.state.data(),
                        .state_stride = stride,
                        .out = made.out.data() + row * stride,
                        .out_stride = stride});
    }
    return made;
  }

  /// out by the definition, in double precision.
  double expected(int64_t row, int64_t channel) const {
    const int64_t stride = channels + 3;
    const auto x = uniform(kRows * stride, 1);
    const auto weights = uniform(width * stride, 2);
    const auto before = uniform((width - 1) * stride + 1, 4);
    double sum = bias ? static_cast<double>(uniform(channels, 3)[static_cast<size_t>(channel)]) : 0.0;
    for (int64_t k = 0; k < width; ++k) {
      const int64_t at = row - width + 1 + k;
      const float input = at >= 0 ? x[static_cast<size_t>(at * stride + channel)]
                                  : before[static_cast<size_t>((at + width - 1) * stride + channel)];
      sum += static_cast<double>(weights[static_cast<size_t>(k * stride + channel)]) * static_cast<double>(input);
    }
    return sum;
  }
};

struct Scan {
  int64_t head_size = 0;
  int64_t state_size = 0;

  Outcome run(const RecurrenceVariant& variant, int64_t piece) const {
    const auto x = uniform(kRows * head_size, 1);
    const auto b = uniform(kRows * state_size, 2);
    const auto c = uniform(kRows * state_size, 3);
    const auto steps = uniform(kRows * 2, 4, 0.0F, 2.0F);
    const auto decays = uniform(kRows * 2, 5, 0.0F, 1.0F);
    Outcome made{.out = std::vector<float>(static_cast<size_t>(kRows * head_size), -7.0F),
                 .state = uniform(state_size * head_size, 6)};
    for (int64_t row = 0; row < kRows; row += piece) {
      variant.scan({.rows = std::min(piece, kRows - row),
                    .head_size = head_size,
                    .state_size = state_size,
                    .x = x.data() + row * head_size,
                    .x_stride = head_size,
                    .b = b.data() + row * state_size,
                    .c = c.data() + row * state_size,
                    .bc_stride = state_size,
                    .steps = steps.data() + row * 2,
                    .decays = decays.data() + row * 2,
                    .step_stride = 2,
                    .skip = 0.75F,
                    .state = made.state.data(),
                    .out = made.out.data() + row * head_size,
                    .out_stride = head_size});
    }
    return made;
  }

  /// The recurrence in double precision: [rows, head_size].
  std::vector<double> expected() const {
    const auto x = uniform(kRows * head_size, 1);
    const auto b = uniform(kRows * state_size, 2);
    const auto c = uniform(kRows * state_size, 3);
    const auto steps = uniform(kRows * 2, 4, 0.0F, 2.0F);
    const auto decays = uniform(kRows * 2, 5, 0.0F, 1.0F);
    const auto start = uniform(state_size * head_size, 6);
    std::vector<double> state(start.begin(), start.end());
    std::vector<double> out;
    for (size_t row = 0; row < kRows; ++row) {
      for (size_t p = 0; p < static_cast<size_t>(head_size); ++p) {
        const auto input = static_cast<double>(x[row * static_cast<size_t>(head_size) + p]);
        double y = 0.75 * input;
        for (size_t n = 0; n < static_cast<size_t>(state_size); ++n) {
          double& h = state[n * static_cast<size_t>(head_size) + p];
          const size_t at = row * static_cast<size_t>(state_size) + n;
          h = h * static_cast<double>(decays[row * 2]) +
              static_cast<double>(steps[row * 2]) * static_cast<double>(b[at]) * input;
          y += h * static_cast<double>(c[at]);
        }
        out.push_back(y);
      }
    }
    return out;
  }
};

class Recurrence : public testing::Test {
 protected:
  void SetUp() override { core::set_float_mode(); }
};

std::vector<Convolution> convolutions() {
  return {{1, 1, false}, {16, 3, false}, {7, 4, true}, {40, 4, true}, {33, 9, false}, {17, 30, true}};
}

TEST_F(Recurrence, ConvolutionsMatchTheDefinition) {
  for (const Convolution& wanted : convolutions()) {
    const Outcome made = wanted.run(*recurrence_variants()[0], kRows);
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t i = 0; i < wanted.channels; ++i) {
        EXPECT_NEAR(made.out[static_cast<size_t>(row * (wanted.channels + 3) + i)], wanted.expected(row, i), 4e-6);
      }
      for (int64_t i = wanted.channels; i < wanted.channels + 3; ++i) {
        EXPECT_EQ(made.out[static_cast<size_t>(row * (wanted.channels + 3) + i)], -7.0F) << "between rows";
      }
    }
  }
}

TEST_F(Recurrence, ScansMatchDoublePrecision) {
  for (const Scan& wanted : {Scan{1, 1}, Scan{8, 12}, Scan{16, 16}, Scan{18, 20}, Scan{64, 128}, Scan{70, 5}}) {
    const Outcome made = wanted.run(*recurrence_variants()[0], kRows);
    const auto expected = wanted.expected();
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(made.out[i], expected[i], 2e-5);
  }
}

TEST_F(Recurrence, VariantsAndPiecesGiveTheSameBits) {
  for (const auto* variant : recurrence_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    for (const int64_t piece : {int64_t{1}, int64_t{2}, int64_t{5}, kRows}) {
      SCOPED_TRACE(testing::Message() << core::isa_name(variant->isa) << ", pieces of " << piece);
      for (const Convolution& wanted : convolutions()) {
        const Outcome expected = wanted.run(*recurrence_variants()[0], kRows);
        const Outcome made = wanted.run(*variant, piece);
        EXPECT_TRUE(same_bits(made.out, expected.out)) << wanted.channels << " channels, width " << wanted.width;
        EXPECT_TRUE(same_bits(made.state, expected.state)) << wanted.channels << " channels, width " << wanted.width;
      }
      for (const Scan& wanted : {Scan{1, 1}, Scan{8, 12}, Scan{16, 16}, Scan{18, 20}, Scan{64, 128}, Scan{70, 5}}) {
        const Outcome expected = wanted.run(*recurrence_variants()[0], kRows);
        const Outcome made = wanted.run(*variant, piece);
        EXPECT_TRUE(same_bits(made.out, expected.out)) << wanted.head_size << " by " << wanted.state_size;
        EXPECT_TRUE(same_bits(made.state, expected.state)) << wanted.head_size << " by " << wanted.state_size;
      }
    }
  }
}

}  // namespace
}  // namespace lamina::kernels

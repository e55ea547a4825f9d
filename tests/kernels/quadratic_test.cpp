#include "kernels/quadratic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace lamina::kernels {
namespace {

std::vector<double> normals(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> out(static_cast<size_t>(count));
  for (double& x : out) x = normal(random);
  return out;
}

/// A triangle and rows, in memory that ends where they do.
struct Forms {
  int64_t size;
  int64_t count;
  std::vector<double> triangle = normals(size * (size + 1) / 2, 3);
  std::vector<double> rows = normals(count * size, 5);

  std::vector<double> run(const QuadraticVariant& variant) const {
    std::vector<double> out(static_cast<size_t>(count), -7);
    variant.run({.triangle = triangle.data(), .size = size, .rows = rows.data(), .count = count, .out = out.data()});
    return out;
  }
};

TEST(Quadratic, IsTheSumOverAllPairs) {
  const Forms forms{.size = 41, .count = 3};
  const std::vector<double> found = forms.run(*quadratic_variants().front());
  for (int64_t r = 0; r < forms.count; ++r) {
    long double sum = 0;
    for (int64_t i = 0; i < forms.size; ++i) {
      for (int64_t j = 0; j < forms.size; ++j) {
        const int64_t high = std::max(i, j);
        const auto at = static_cast<size_t>(high * (high + 1) / 2 + std::min(i, j));
        sum += static_cast<long double>(forms.rows[static_cast<size_t>(r * forms.size + i)]) * forms.triangle[at] *
               forms.rows[static_cast<size_t>(r * forms.size + j)];
      }
    }
    EXPECT_NEAR(found[static_cast<size_t>(r)], static_cast<double>(sum), 1e-11);
  }
}

TEST(Quadratic, EveryVariantHasTheSameBits) {
  for (const int64_t size : {1, 2, 15, 16, 17, 31, 64, 77, 129}) {
    for (const int64_t count : {1, 2, 7, 8, 9, 21}) {
      const Forms forms{.size = size, .count = count};
      const std::vector<double> wanted = forms.run(*quadratic_variants().front());
      for (const QuadraticVariant* variant : quadratic_variants()) {
        if (!core::cpu_has(variant->isa)) continue;
        const std::vector<double> found = forms.run(*variant);
        EXPECT_EQ(std::memcmp(found.data(), wanted.data(), found.size() * sizeof(double)), 0)
            << core::isa_name(variant->isa) << ", " << size << ", " << count;
      }
    }
  }
}

}  // namespace
}  // namespace lamina::kernels

#include "run/divergence.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "run/log_probability.h"

namespace lamina::run {

namespace {

double divergence(std::span<const float> from, std::span<const float> to) {
  const double from_sum = log_sum_exp(from);
  const double to_sum = log_sum_exp(to);
  double sum = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const double log_probability = double{from[i]} - from_sum;
    sum += std::exp(log_probability) * (log_probability - (double{to[i]} - to_sum));
  }
  return std::max(sum, 0.0);
}

}  // namespace

double mean_divergence(core::ThreadPool& pool, std::span<const float> from, std::span<const float> to, size_t rows) {
  std::vector<double> by_row(rows);
  const size_t outputs = from.size() / rows;
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(static_cast<int64_t>(rows), 1, index, threads);
    for (auto r = static_cast<size_t>(range.begin); r < static_cast<size_t>(range.end); ++r)
      by_row[r] = divergence(from.subspan(r * outputs, outputs), to.subspan(r * outputs, outputs));
  });
  double sum = 0;
  for (const double one : by_row) sum += one;
  return sum / static_cast<double>(rows);
}

}  // namespace lamina::run

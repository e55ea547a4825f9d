#include "compress/output_error.h"

#include <algorithm>

namespace lamina::compress {

namespace {

/// e G e^T over the rows of the Gram matrix.
double quadratic(const stats::Gram& gram, std::span<const float> e) {
  const std::span<const double> sums = gram.sums();
  double all = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    const double* row = sums.data() + stats::triangle_row(static_cast<int64_t>(i));
    double lanes[4] = {};
    size_t j = 0;
    for (; j + 4 <= i; j += 4) {
      for (size_t k = 0; k < 4; ++k) lanes[k] += row[j + k] * double{e[j + k]};
    }
    double sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    for (; j < i; ++j) sum += row[j] * double{e[j]};
    all += double{e[i]} * (2 * sum + row[i] * double{e[i]});
  }
  return all / static_cast<double>(std::max<int64_t>(gram.rows(), 1));
}

}  // namespace

double output_error(std::span<const float> e, const stats::Gram* gram, const float* squares) {
  if (gram != nullptr) return std::max(quadratic(*gram, e), 0.0);
  double sum = 0;
  for (size_t i = 0; i < e.size(); ++i)
    sum += (squares == nullptr ? 1.0 : double{squares[i]}) * double{e[i]} * double{e[i]};
  return sum;
}

}  // namespace lamina::compress

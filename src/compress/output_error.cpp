#include "compress/output_error.h"

#include <algorithm>

#include "kernels/quadratic.h"

namespace lamina::compress {

void output_errors(std::span<const double> errors, const stats::Gram* gram, const float* squares,
                   std::span<double> out) {
  if (out.empty()) return;
  const size_t inputs = errors.size() / out.size();
  if (gram != nullptr) {
    kernels::quadratic_forms({.triangle = gram->sums().data(),
                              .size = static_cast<int64_t>(inputs),
                              .rows = errors.data(),
                              .count = std::ssize(out),
                              .out = out.data()});
    const auto rows = static_cast<double>(std::max<int64_t>(gram->rows(), 1));
    for (double& error : out) error = std::max(error / rows, 0.0);
    return;
  }
  for (size_t r = 0; r < out.size(); ++r) {
    const std::span<const double> e = errors.subspan(r * inputs, inputs);
    out[r] = 0;
    for (size_t i = 0; i < inputs; ++i) out[r] += (squares == nullptr ? 1.0 : double{squares[i]}) * e[i] * e[i];
  }
}

}  // namespace lamina::compress

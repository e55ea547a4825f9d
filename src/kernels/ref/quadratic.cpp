#include "kernels/quadratic.h"

namespace lamina::kernels::ref {

namespace {

constexpr int64_t kLanes = 16;

/// The sum of a[j] * b[j] in 16 lanes; the last ones are filled up with zeros.
double product(const double* a, const double* b, int64_t count) {
  double lanes[kLanes] = {};
  for (int64_t first = 0; first < count; first += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += first + k < count ? a[first + k] * b[first + k] : 0.0;
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

void run(const QuadraticArgs& args) {
  for (int64_t r = 0; r < args.count; ++r) {
    const double* x = args.rows + r * args.size;
    const double* row = args.triangle;
    double sum = 0;
    for (int64_t i = 0; i < args.size; row += ++i) {
      const double below = product(row, x, i);
      sum += x[i] * (2 * below + row[i] * x[i]);
    }
    args.out[r] = sum;
  }
}

}  // namespace

const QuadraticVariant kQuadratic{core::Isa::kScalar, run};

}  // namespace lamina::kernels::ref

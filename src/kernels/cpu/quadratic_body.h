#pragma once

#include "kernels/quadratic.h"

/// ref/quadratic.cpp with some rows beside each other, so that the matrix is read once for all of them. D holds sixteen
/// float64 lanes.
namespace lamina::kernels::cpu {
namespace {

template <typename D, int kCount>
inline void add_rows(const QuadraticArgs& args, int64_t first) {
  const double* x = args.rows + first * args.size;
  const double* row = args.triangle;
  double sums[kCount] = {};
  for (int64_t i = 0; i < args.size; row += ++i) {
    typename D::V lanes[kCount];
    for (int r = 0; r < kCount; ++r) lanes[r] = D::zero();
    int64_t j = 0;
    for (; j + 16 <= i; j += 16) {
      const auto g = D::load(row + j);
      for (int r = 0; r < kCount; ++r) lanes[r] = D::add(lanes[r], D::mul(g, D::load(x + r * args.size + j)));
    }
    if (j < i) {
      const auto g = D::load(row + j, i - j);
      for (int r = 0; r < kCount; ++r) lanes[r] = D::add(lanes[r], D::mul(g, D::load(x + r * args.size + j, i - j)));
    }
    for (int r = 0; r < kCount; ++r) {
      const double value = x[r * args.size + i];
      sums[r] += value * (2 * D::fold(lanes[r]) + row[i] * value);
    }
  }
  for (int r = 0; r < kCount; ++r) args.out[first + r] = sums[r];
}

template <typename D>
void quadratic_rows(const QuadraticArgs& args) {
  int64_t done = 0;
  for (; done + D::kRows <= args.count; done += D::kRows) add_rows<D, D::kRows>(args, done);
  for (; done < args.count; ++done) add_rows<D, 1>(args, done);
}

}  // namespace
}  // namespace lamina::kernels::cpu

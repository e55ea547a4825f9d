#pragma once

#include <cstdint>
#include <vector>

namespace lamina::compress {

/// A seeded orthogonal matrix R that mixes every number of a vector with every other in little time: with the size
/// p * m, p its largest power of two, random signs, a Hadamard matrix over each run of p numbers, and a random
/// orthogonal m x m matrix over the runs. The Kronecker form with which FlatQuant begins (Sun et al. 2024, arXiv
/// 2410.09426); with m = 1 the rotation of QuaRot (Ashkboos et al. 2024, arXiv 2404.00456).
class Rotation {
 public:
  Rotation(int64_t size, uint64_t seed);

  int64_t size() const { return size_; }
  /// p, and m.
  int64_t power() const { return power_; }
  int64_t odd() const { return size_ / power_; }
  /// x = R x.
  void apply(double* x) const;
  /// Mean squares of the numbers of R x, out of those of x, where these do not hang together.
  void spread(double* squares) const;

 private:
  int64_t size_ = 0;
  int64_t power_ = 1;
  std::vector<double> signs_;
  std::vector<double> mix_;  ///< [m, m]
};

}  // namespace lamina::compress

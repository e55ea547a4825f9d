#include "compress/rotation.h"

#include <cmath>

namespace lamina::compress {

namespace {

/// splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  /// In [-1, 1).
  double number() { return static_cast<double>(next() >> 11) * 0x1p-52 - 1; }

 private:
  uint64_t state_;
};

/// Rows of random numbers, made orthogonal one after another; twice, as rounding asks for.
std::vector<double> orthogonal(int64_t n, Random& random) {
  const auto size = static_cast<size_t>(n);
  std::vector<double> rows(size * size);
  for (double& x : rows) x = random.number();
  for (size_t i = 0; i < size; ++i) {
    double* row = rows.data() + i * size;
    for (size_t done = 0; done < 2 * i; ++done) {
      const double* other = rows.data() + (done % i) * size;
      double product = 0;
      for (size_t k = 0; k < size; ++k) product += row[k] * other[k];
      for (size_t k = 0; k < size; ++k) row[k] -= product * other[k];
    }
    double square = 0;
    for (size_t k = 0; k < size; ++k) square += row[k] * row[k];
    for (size_t k = 0; k < size; ++k) row[k] /= std::sqrt(square);
  }
  return rows;
}

}  // namespace

Rotation::Rotation(int64_t size, uint64_t seed) : size_(size) {
  while (size % (2 * power_) == 0) power_ *= 2;
  Random random(seed);
  signs_.resize(static_cast<size_t>(size));
  for (double& sign : signs_) sign = random.next() >> 63 == 0 ? 1 : -1;
  mix_ = orthogonal(odd(), random);
}

void Rotation::apply(double* x) const {
  for (int64_t i = 0; i < size_; ++i) x[i] *= signs_[static_cast<size_t>(i)];
  const double root = 1 / std::sqrt(static_cast<double>(power_));
  for (int64_t run = 0; run < size_; run += power_) {
    for (int64_t step = 1; step < power_; step *= 2) {
      for (int64_t first = run; first < run + power_; first += 2 * step) {
        for (int64_t i = first; i < first + step; ++i) {
          const double a = x[i];
          const double b = x[i + step];
          x[i] = a + b;
          x[i + step] = a - b;
        }
      }
    }
  }
  const int64_t runs = odd();
  std::vector<double> before(x, x + size_);
  for (int64_t to = 0; to < runs; ++to) {
    double* out = x + to * power_;
    for (int64_t i = 0; i < power_; ++i) out[i] = 0;
    for (int64_t from = 0; from < runs; ++from) {
      const double factor = root * mix_[static_cast<size_t>(to * runs + from)];
      const double* in = before.data() + from * power_;
      for (int64_t i = 0; i < power_; ++i) out[i] += factor * in[i];
    }
  }
}

void Rotation::spread(double* squares) const {
  const int64_t runs = odd();
  std::vector<double> means(static_cast<size_t>(runs));
  for (int64_t i = 0; i < size_; ++i)
    means[static_cast<size_t>(i / power_)] += squares[i] / static_cast<double>(power_);
  for (int64_t to = 0; to < runs; ++to) {
    double sum = 0;
    for (int64_t from = 0; from < runs; ++from) {
      const double factor = mix_[static_cast<size_t>(to * runs + from)];
      sum += factor * factor * means[static_cast<size_t>(from)];
    }
    for (int64_t i = 0; i < power_; ++i) squares[to * power_ + i] = sum;
  }
}

}  // namespace lamina::compress

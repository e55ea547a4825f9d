#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/edit.h"
#include "core/result.h"

namespace lamina::compress {

/// Two factors of a matrix, second * first.
struct Factors {
  Matrix first;                    ///< [rank, inputs]
  Matrix second;                   ///< [outputs, rank]
  std::vector<double> singular{};  ///< all singular values of the weighed matrix, descending
  double kept = 0;                 ///< share of the sum of their squares
};

struct FactorChoice {
  int64_t rank = 0;   ///< 0: as many as `energy` asks for
  double energy = 1;  ///< share of the squared singular values to keep at least
};

/// The best product of that rank, or of the least rank that keeps the energy: the truncated singular value
/// decomposition, in float64, of W diag(weights), which minimizes the mean squared error of the outputs for inputs that
/// do not correlate and whose root mean squares are the weights; no weights: all 1. A weight of 0 counts as a
/// thousandth of the average. Both factors share the singular values' roots.
Factors factorize(const Matrix& matrix, std::span<const double> weights, const FactorChoice& choice);

/// The rank that factorize() would choose for that share of energy.
int64_t rank_for(std::span<const double> singular, double energy);

/// X [n, columns] with (G + ridge * mean(diag G) * 1) X = R, G [n, n] symmetric, row by row, by Cholesky factors in
/// float64. kInvalid: G is not positive, even with the ridge.
core::Result<std::vector<double>> solve_symmetric(std::span<const double> gram, int64_t n,
                                                  std::span<const double> right, double ridge);

}  // namespace lamina::compress

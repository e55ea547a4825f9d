#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/edit.h"
#include "core/result.h"
#include "layers/input_recorder.h"
#include "stats/gram.h"

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
/// decomposition, in float64, of W R, which minimizes the mean squared error of the outputs. R R^T is the mean Gram
/// matrix of the inputs, a ten thousandth of its mean diagonal added (Wang et al. 2024, SVD-LLM, arXiv 2403.07378);
/// without one (null) the inputs count as not correlated and R is diag(weights), their root mean squares; without these
/// too all are 1. A weight of 0 counts as a thousandth of the average. Both factors share the singular values' roots.
/// kInvalid: the Gram matrix is not positive.
core::Result<Factors> factorize(const Matrix& matrix, std::span<const double> weights, const stats::Gram* gram,
                                const FactorChoice& choice);

/// The rank that factorize() would choose for that share of energy.
int64_t rank_for(std::span<const double> singular, double energy);

/// The weighted mean of matrices of one shape, in float64.
Matrix weighted_mean(std::span<const Matrix> matrices, std::span<const double> weights);

/// The matrix W with the least sum over models of weight * |X W^T - X W_m^T|^2 / rows, where `grams` has X^T X of each
/// model's rows, its sums off the diagonal multiplied by alpha (Jin et al. 2022, eq. 2 and section 4.2). `ridge` times
/// the mean of the diagonal pulls to the weighted mean what no row tells. kInvalid: the sum is not positive.
core::Result<Matrix> regression_mean(std::span<const Matrix> matrices, std::span<const stats::Gram* const> grams,
                                     std::span<const double> weights, double alpha, double ridge);

/// A matrix without some of its columns.
struct FewerColumns {
  Matrix matrix{};
  double error = 0;    ///< mean square of what its outputs lose, summed over them
  double whole = 0;    ///< that of the outputs before
  bool refit = false;  ///< the columns that stay were changed
};

/// Keeps the columns `kept`, ascending. With the Gram matrix of the inputs they become those whose outputs differ
/// least, in squares, from those of all; a thousandth of the mean square of inputs is added to each one's, which holds
/// them near what they were. Without it (null) they stay, and inputs count as not correlated: `squares` are their
/// means.
core::Result<FewerColumns> keep_best_columns(const Matrix& matrix, std::span<const float> squares,
                                             const stats::Gram* gram, std::span<const size_t> kept);

/// X [n, columns] with (G + ridge * mean(diag G) * 1) X = R, G [n, n] symmetric, row by row, by Cholesky factors in
/// float64. kInvalid: G is not positive, even with the ridge.
core::Result<std::vector<double>> solve_symmetric(std::span<const double> gram, int64_t n,
                                                  std::span<const double> right, double ridge);

/// The matrix [targets, inputs] that tells targets by inputs with the least squared error over rows of which `joint`
/// has the products, inputs first, targets after them; `ridge` times the inputs' mean square is added to each one's,
/// which draws the matrix to 0. kInvalid: not positive, even with the ridge.
core::Result<Matrix> regress(const stats::Gram& joint, int64_t inputs, double ridge);

/// Of the targets' squares over those rows, the share that the matrix tells; below 0 where it misleads.
double share_told(const stats::Gram& joint, const Matrix& matrix);

/// Adds scale * W x to each of the rows y [count, outputs], where the matrix has a column more than x, that is the
/// product with a 1, if `constant`. The bits depend on the rows and on how many there are.
void add_products(const Matrix& matrix, const layers::InputRows& x, bool constant, float scale, float* y);

}  // namespace lamina::compress

#include "compress/linear_algebra.h"

#include <Eigen/Cholesky>
#include <Eigen/Dense>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <numeric>

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

using Dense = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXd;

constexpr double kIdleShare = 1e-3;

/// The weights without zeros.
Vector usable(std::span<const double> weights, int64_t inputs) {
  Vector out = Vector::Ones(inputs);
  if (weights.empty()) return out;
  const double mean = std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(inputs);
  if (mean <= 0) return out;
  for (int64_t i = 0; i < inputs; ++i) out[i] = std::max(weights[static_cast<size_t>(i)], kIdleShare * mean);
  return out;
}

/// Eigenvalues, descending and none below 0, and their vectors as columns.
struct Spectrum {
  Vector values;
  Eigen::MatrixXd vectors;
};

Spectrum spectrum_of(const Eigen::MatrixXd& gram) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram);
  return {solver.eigenvalues().reverse().cwiseMax(0), solver.eigenvectors().rowwise().reverse()};
}

/// The mean Gram matrix by rows, or a diagonal of mean squares.
Dense whole_gram(std::span<const float> squares, const stats::Gram* gram) {
  const auto inputs = std::ssize(squares);
  Dense out = Dense::Zero(inputs, inputs);
  for (int64_t i = 0; i < inputs; ++i) {
    if (gram == nullptr) {
      out(i, i) = double{squares[static_cast<size_t>(i)]};
      continue;
    }
    const double* row = gram->sums().data() + stats::triangle_row(i);
    const double rows = static_cast<double>(std::max<int64_t>(gram->rows(), 1));
    for (int64_t j = 0; j <= i; ++j) out(i, j) = out(j, i) = row[j] / rows;
  }
  return out;
}

/// The R of factorize(), lower triangular.
Result<Eigen::MatrixXd> input_root(const Matrix& matrix, std::span<const double> weights, const stats::Gram* gram) {
  constexpr double kRidge = 1e-4;
  if (gram == nullptr || gram->rows() == 0) return usable(weights, matrix.inputs).asDiagonal().toDenseMatrix();
  Dense products = whole_gram(std::vector<float>(static_cast<size_t>(matrix.inputs)), gram);
  products.diagonal().array() += kRidge * products.trace() / static_cast<double>(matrix.inputs);
  const Eigen::LLT<Dense> factors(products);
  if (factors.info() != Eigen::Success) {
    return fail(ErrorCode::kInvalid, "Gram matrix", "of {} inputs is not positive; more calibration text expected",
                matrix.inputs);
  }
  return Eigen::MatrixXd(factors.matrixL());
}

Matrix to_matrix(const Eigen::MatrixXd& values) {
  Matrix out{.outputs = values.rows(), .inputs = values.cols()};
  out.numbers.resize(static_cast<size_t>(values.size()));
  for (int64_t r = 0; r < out.outputs; ++r) {
    for (int64_t c = 0; c < out.inputs; ++c) out.row(r)[c] = static_cast<float>(values(r, c));
  }
  return out;
}

}  // namespace

int64_t rank_for(std::span<const double> singular, double energy) {
  double total = 0;
  for (const double s : singular) total += s * s;
  double sum = 0;
  int64_t rank = 0;
  for (const double s : singular) {
    if (sum >= energy * total) break;
    sum += s * s;
    ++rank;
  }
  return std::max<int64_t>(rank, 1);
}

Result<Factors> factorize(const Matrix& matrix, std::span<const double> weights, const stats::Gram* gram,
                          const FactorChoice& choice) {
  const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> stored(
      matrix.numbers.data(), matrix.outputs, matrix.inputs);
  LAMINA_ASSIGN(const Eigen::MatrixXd root, input_root(matrix, weights, gram));
  const Eigen::MatrixXd weighed = stored.cast<double>() * root.triangularView<Eigen::Lower>();
  // The smaller of the two squares has all singular values that are not 0.
  const bool wide = matrix.outputs <= matrix.inputs;
  Eigen::MatrixXd squares;
  if (wide) {
    squares = weighed * weighed.transpose();
  } else {
    squares = weighed.transpose() * weighed;
  }
  const Spectrum spectrum = spectrum_of(squares);
  Factors out;
  for (const double value : spectrum.values) out.singular.push_back(std::sqrt(value));
  const int64_t most = std::min(matrix.outputs, matrix.inputs);
  const int64_t rank = std::min(choice.rank > 0 ? choice.rank : rank_for(out.singular, choice.energy), most);
  const Eigen::MatrixXd basis = spectrum.vectors.leftCols(rank);
  Eigen::MatrixXd second = basis;
  Eigen::MatrixXd first;
  if (wide) {
    first = basis.transpose() * stored.cast<double>();
  } else {
    second = weighed * basis;
    first = root.transpose().triangularView<Eigen::Upper>().solve(basis).transpose();
  }
  for (int64_t i = 0; i < rank; ++i) {
    const double singular = std::sqrt(out.singular[static_cast<size_t>(i)]);
    if (singular <= 0) continue;
    second.col(i) *= wide ? singular : 1 / singular;
    first.row(i) *= wide ? 1 / singular : singular;
  }
  const double total = spectrum.values.sum();
  out.kept = total > 0 ? spectrum.values.head(rank).sum() / total : 1;
  out.first = to_matrix(first);
  out.second = to_matrix(second);
  return out;
}

Matrix weighted_mean(std::span<const Matrix> matrices, std::span<const double> weights) {
  Matrix out = matrices.front();
  for (size_t i = 0; i < out.numbers.size(); ++i) {
    double sum = 0;
    for (size_t m = 0; m < matrices.size(); ++m) sum += weights[m] * double{matrices[m].numbers[i]};
    out.numbers[i] = static_cast<float>(sum);
  }
  return out;
}

Result<Matrix> regression_mean(std::span<const Matrix> matrices, std::span<const stats::Gram* const> grams,
                               std::span<const double> weights, double alpha, double ridge) {
  const int64_t inputs = matrices.front().inputs;
  const auto transposed = [&](const Matrix& matrix) -> Dense {
    const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> stored(
        matrix.numbers.data(), matrix.outputs, inputs);
    return stored.transpose().cast<double>();
  };
  Dense left = Dense::Zero(inputs, inputs);
  Dense right = Dense::Zero(inputs, matrices.front().outputs);
  Dense gram(inputs, inputs);
  for (size_t m = 0; m < matrices.size(); ++m) {
    const double share = weights[m] / static_cast<double>(std::max<int64_t>(grams[m]->rows(), 1));
    const std::span<const double> sums = grams[m]->sums();
    for (int64_t i = 0; i < inputs; ++i) {
      const double* row = sums.data() + stats::triangle_row(i);
      for (int64_t j = 0; j < i; ++j) gram(i, j) = gram(j, i) = share * alpha * row[j];
      gram(i, i) = share * row[i];
    }
    left += gram;
    right += gram * transposed(matrices[m]);
  }
  const double lift = ridge * left.trace() / static_cast<double>(inputs);
  left.diagonal().array() += lift;
  right += lift * transposed(weighted_mean(matrices, weights));
  const Eigen::LLT<Dense> factors(left);
  if (factors.info() != Eigen::Success) {
    return fail(ErrorCode::kInvalid, "Gram matrices",
                "of {} inputs are not positive with alpha={}; a smaller one or more calibration text expected", inputs,
                alpha);
  }
  return to_matrix(factors.solve(right).transpose());
}

Result<FewerColumns> keep_best_columns(const Matrix& matrix, std::span<const float> squares, const stats::Gram* gram,
                                       std::span<const size_t> kept) {
  constexpr double kHold = 1e-3;
  const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> stored(
      matrix.numbers.data(), matrix.outputs, matrix.inputs);
  const Dense before = stored.cast<double>();
  const Dense products = whole_gram(squares, gram);
  const std::vector<int64_t> columns(kept.begin(), kept.end());
  Dense after = before(Eigen::all, columns);
  if (gram != nullptr) {
    Dense left = products(columns, columns);
    const double lift = kHold * left.trace() / static_cast<double>(columns.size());
    left.diagonal().array() += lift;
    const Dense right = products(columns, Eigen::all) * before.transpose() + lift * after.transpose();
    const Eigen::LLT<Dense> factors(left);
    if (factors.info() != Eigen::Success) {
      return fail(ErrorCode::kInvalid, "Gram matrix", "of {} inputs is not positive; more calibration text expected",
                  matrix.inputs);
    }
    after = factors.solve(right).transpose();
  }
  Dense lost = before;
  lost(Eigen::all, columns) -= after;
  FewerColumns out{.matrix = to_matrix(after), .refit = gram != nullptr};
  out.error = (lost * products).cwiseProduct(lost).sum();
  out.whole = (before * products).cwiseProduct(before).sum();
  return out;
}

Result<std::vector<double>> solve_symmetric(std::span<const double> gram, int64_t n, std::span<const double> right,
                                            double ridge) {
  const int64_t columns = n > 0 ? std::ssize(right) / n : 0;
  Dense left = Eigen::Map<const Dense>(gram.data(), n, n);
  const double lift = ridge * left.trace() / static_cast<double>(n);
  left.diagonal().array() += lift;
  const Eigen::LLT<Dense> factors(left);
  if (factors.info() != Eigen::Success)
    return fail(ErrorCode::kInvalid, "Gram matrix", "of {} inputs is not positive; more calibration text expected", n);
  std::vector<double> out(right.size());
  Eigen::Map<Dense>(out.data(), n, columns) = factors.solve(Eigen::Map<const Dense>(right.data(), n, columns));
  return out;
}

namespace {

/// Rows [begin, end) and columns [0, columns) of a Gram matrix.
Dense block_of(const stats::Gram& gram, int64_t begin, int64_t end, int64_t columns) {
  Dense out(end - begin, columns);
  const std::span<const double> sums = gram.sums();
  for (int64_t i = begin; i < end; ++i) {
    const double* row = sums.data() + stats::triangle_row(i);
    for (int64_t j = 0; j < columns; ++j)
      out(i - begin, j) = j <= i ? row[j] : sums[static_cast<size_t>(stats::triangle_row(j) + i)];
  }
  return out;
}

}  // namespace

Result<Matrix> regress(const stats::Gram& joint, int64_t inputs, double ridge) {
  Dense left = block_of(joint, 0, inputs, inputs);
  const double lift = ridge * left.trace() / static_cast<double>(inputs);
  left.diagonal().array() += lift;
  const Eigen::LLT<Dense> factors(left);
  if (factors.info() != Eigen::Success) {
    return fail(ErrorCode::kInvalid, "Gram matrix", "of {} inputs is not positive; more calibration text expected",
                inputs);
  }
  const Dense cross = block_of(joint, inputs, joint.inputs(), inputs);
  return to_matrix(factors.solve(cross.transpose()).transpose());
}

double share_told(const stats::Gram& joint, const Matrix& matrix) {
  const int64_t inputs = matrix.inputs;
  const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> stored(
      matrix.numbers.data(), matrix.outputs, inputs);
  const Dense own = stored.cast<double>();
  // |b - W a|^2 = |b|^2 - 2 W.(b a^T) + W.(W a a^T)
  double squares = 0;
  for (int64_t i = inputs; i < joint.inputs(); ++i) squares += joint.at(i, i);
  const Dense cross = block_of(joint, inputs, joint.inputs(), inputs);
  const Dense products = own * block_of(joint, 0, inputs, inputs);
  const double told = 2 * own.cwiseProduct(cross).sum() - own.cwiseProduct(products).sum();
  return squares > 0 ? told / squares : 0;
}

void add_products(const Matrix& matrix, const layers::InputRows& x, bool constant, float scale, float* y) {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const int64_t inputs = matrix.inputs - (constant ? 1 : 0);
  const Eigen::Map<const Rows> own(matrix.numbers.data(), matrix.outputs, matrix.inputs);
  const Eigen::Map<const Rows, 0, Eigen::OuterStride<>> from(x.data, x.count, inputs, Eigen::OuterStride<>(x.stride));
  Eigen::Map<Rows> to(y, x.count, matrix.outputs);
  Rows products = from * own.leftCols(inputs).transpose();
  if (constant) products.rowwise() += own.col(inputs).transpose();
  to += scale * products;
}

}  // namespace lamina::compress

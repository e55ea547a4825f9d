#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lamina::eval {

/// The inverse of a symmetric positive definite matrix [size, size], by Cholesky's factors.
std::vector<double> inverse(std::vector<double> matrix, size_t size);

/// Products of rows [count, width] with one another, [count, count].
std::vector<double> products_of(std::span<const double> rows, size_t count);

/// Logistic regression onto several classes, of samples that are known by their products with one another.
struct Logistic {
  std::vector<double> duals;    ///< [samples, classes]; a class's weights are the sum of the samples times these
  std::vector<double> offsets;  ///< [classes]: logarithms of how often they come
};

/// The one that fits the samples `used` best less half of `strength` times the squares of its weights; duals of other
/// samples are 0. By steps with the fixed bound of the curvature of Bohning 1992, Multinomial Logistic Regression
/// Algorithm.
Logistic fit_logistic(std::span<const double> products, std::span<const uint8_t> labels, size_t classes,
                      std::span<const size_t> used, double strength);

/// Logarithms of the classes' probabilities of one sample, whose products with all are given.
std::vector<double> log_probabilities(const Logistic& logistic, std::span<const double> products);

}  // namespace lamina::eval

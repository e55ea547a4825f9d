#include "eval/regression.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lamina::eval {

std::vector<double> inverse(std::vector<double> matrix, size_t size) {
  const auto at = [size](std::vector<double>& m, size_t r, size_t c) -> double& { return m[r * size + c]; };
  for (size_t j = 0; j < size; ++j) {
    for (size_t i = j; i < size; ++i) {
      double sum = at(matrix, i, j);
      for (size_t k = 0; k < j; ++k) sum -= at(matrix, i, k) * at(matrix, j, k);
      at(matrix, i, j) = i == j ? std::sqrt(sum) : sum / at(matrix, j, j);
    }
  }
  std::vector<double> out(size * size);
  for (size_t c = 0; c < size; ++c) {
    std::vector<double> x(size);
    for (size_t i = c; i < size; ++i) {
      double sum = i == c ? 1 : 0;
      for (size_t k = c; k < i; ++k) sum -= at(matrix, i, k) * x[k];
      x[i] = sum / at(matrix, i, i);
    }
    for (size_t i = size; i-- > 0;) {
      double sum = x[i];
      for (size_t k = i + 1; k < size; ++k) sum -= at(matrix, k, i) * x[k];
      x[i] = sum / at(matrix, i, i);
    }
    for (size_t i = 0; i < size; ++i) at(out, i, c) = x[i];
  }
  return out;
}

std::vector<double> products_of(std::span<const double> rows, size_t count) {
  const size_t width = rows.size() / count;
  std::vector<double> products(count * count);
  for (size_t i = 0; i < count; ++i) {
    const auto one = rows.subspan(i * width, width);
    for (size_t k = 0; k <= i; ++k) {
      const double product = std::inner_product(one.begin(), one.end(), rows.subspan(k * width, width).begin(), 0.0);
      products[i * count + k] = products[k * count + i] = product;
    }
  }
  return products;
}

namespace {

/// So little that a step does not move a probability.
constexpr double kSettled = 1e-9;
constexpr int kMostSteps = 200;

/// In place, of the values of the classes of one sample.
void subtract_log_sum(std::span<double> values) {
  const double most = *std::ranges::max_element(values);
  double sum = 0;
  for (const double value : values) sum += std::exp(value - most);
  for (double& value : values) value -= most + std::log(sum);
}

/// As if each class had been seen half a time more.
std::vector<double> log_shares(std::span<const uint8_t> labels, size_t classes, std::span<const size_t> used) {
  std::vector<double> counts(classes, 0.5);
  for (const size_t sample : used) counts[labels[sample]] += 1;
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  for (double& count : counts) count = std::log(count / total);
  return counts;
}

}  // namespace

std::vector<double> log_probabilities(const Logistic& logistic, std::span<const double> products) {
  std::vector<double> values = logistic.offsets;
  const size_t classes = values.size();
  for (size_t i = 0; i < products.size(); ++i) {
    for (size_t c = 0; c < classes; ++c) values[c] += products[i] * logistic.duals[i * classes + c];
  }
  subtract_log_sum(values);
  return values;
}

Logistic fit_logistic(std::span<const double> products, std::span<const uint8_t> labels, size_t classes,
                      std::span<const size_t> used, double strength) {
  const size_t count = labels.size();
  const size_t own = used.size();
  Logistic fit{.duals = std::vector<double>(count * classes), .offsets = log_shares(labels, classes, used)};
  std::vector<double> bound(own * own);
  for (size_t i = 0; i < own; ++i) {
    for (size_t k = 0; k < own; ++k) bound[i * own + k] = products[used[i] * count + used[k]] / 2;
    bound[i * own + i] += strength;
  }
  bound = inverse(std::move(bound), own);
  std::vector<double> slopes(own * classes);
  double moved = 1;
  for (int step = 0; step < kMostSteps && moved > kSettled; ++step) {
    for (size_t i = 0; i < own; ++i) {
      const std::vector<double> logs = log_probabilities(fit, products.subspan(used[i] * count, count));
      for (size_t c = 0; c < classes; ++c) {
        const double error = std::exp(logs[c]) - (labels[used[i]] == c ? 1 : 0);
        slopes[i * classes + c] = error + strength * fit.duals[used[i] * classes + c];
      }
    }
    moved = 0;
    for (size_t i = 0; i < own; ++i) {
      for (size_t c = 0; c < classes; ++c) {
        double change = 0;
        for (size_t k = 0; k < own; ++k) change += bound[i * own + k] * slopes[k * classes + c];
        fit.duals[used[i] * classes + c] -= change;
        moved = std::max(moved, std::abs(change) * strength);
      }
    }
  }
  return fit;
}

}  // namespace lamina::eval

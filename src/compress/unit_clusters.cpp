#include "compress/unit_clusters.h"

#include <Eigen/Dense>
#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace lamina::compress {

namespace {

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int kMostRounds = 30;

/// Rows that are far from each other: the first is the longest, each next one is least like all before it.
Rows far_centers(const Rows& unit, const Eigen::VectorXf& lengths, int64_t clusters) {
  Rows centers(clusters, unit.cols());
  int64_t next = 0;
  lengths.maxCoeff(&next);
  Eigen::VectorXf nearest = Eigen::VectorXf::Constant(unit.rows(), -2);
  for (int64_t c = 0; c < clusters; ++c) {
    centers.row(c) = unit.row(next);
    nearest = nearest.cwiseMax(unit * centers.row(c).transpose());
    nearest.minCoeff(&next);
  }
  return centers;
}

/// The cluster of each row, the same number of rows in each.
std::vector<int> assign(const Rows& likeness) {
  const int64_t clusters = likeness.cols();
  std::vector<float> regret(static_cast<size_t>(likeness.rows()));
  for (int64_t r = 0; r < likeness.rows(); ++r) {
    float best = -2;
    float second = -2;
    for (int64_t c = 0; c < clusters; ++c) {
      const float own = likeness(r, c);
      second = std::max(second, std::min(own, best));
      best = std::max(best, own);
    }
    regret[static_cast<size_t>(r)] = best - second;
  }
  std::vector<int64_t> order(regret.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::ranges::sort(order, std::greater(), [&](int64_t r) { return std::pair(regret[static_cast<size_t>(r)], -r); });
  std::vector<int64_t> room(static_cast<size_t>(clusters), likeness.rows() / clusters);
  std::vector<int> chosen(regret.size(), -1);
  for (const int64_t r : order) {
    int best = -1;
    for (int c = 0; c < static_cast<int>(clusters); ++c) {
      if (room[static_cast<size_t>(c)] > 0 && (best < 0 || likeness(r, c) > likeness(r, best))) best = c;
    }
    --room[static_cast<size_t>(best)];
    chosen[static_cast<size_t>(r)] = best;
  }
  return chosen;
}

}  // namespace

std::vector<int> balanced_clusters(const Matrix& rows, int64_t clusters) {
  Rows unit = Eigen::Map<const Rows>(rows.numbers.data(), rows.outputs, rows.inputs);
  const Eigen::VectorXf lengths = unit.rowwise().norm();
  for (int64_t r = 0; r < unit.rows(); ++r) {
    if (lengths[r] > 0) unit.row(r) /= lengths[r];
  }
  Rows centers = far_centers(unit, lengths, clusters);
  std::vector<int> chosen;
  for (int round = 0; round < kMostRounds; ++round) {
    std::vector<int> now = assign(unit * centers.transpose());
    if (now == chosen) break;
    chosen = std::move(now);
    centers.setZero();
    for (int64_t r = 0; r < unit.rows(); ++r) centers.row(chosen[static_cast<size_t>(r)]) += unit.row(r);
    for (int64_t c = 0; c < clusters; ++c) {
      if (const float length = centers.row(c).norm(); length > 0) centers.row(c) /= length;
    }
  }
  return chosen;
}

}  // namespace lamina::compress

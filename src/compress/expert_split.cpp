#include "compress/expert_split.h"

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "compress/linear_algebra.h"
#include "compress/unit_clusters.h"
#include "stats/gram.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using View = Eigen::Map<const Rows>;

/// Tokens by which units are compared.
constexpr int64_t kSampled = 1024;
/// Rows of which products are summed in float32 before they join the totals.
constexpr int64_t kTogether = 512;
/// Scores of a router are at most this: shares differ by as much, and their order is still told by floats.
constexpr float kLargestScore = 1.0F / 2048;
constexpr std::array kRouterRidges{1e-3, 1e-2, 1e-1, 1.0};
constexpr std::array kDownRidges{1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0};

View view_of(const Matrix& matrix) {
  return {matrix.numbers.data(), matrix.outputs, matrix.inputs};
}

Matrix to_matrix(const Rows& rows) {
  return {.outputs = rows.rows(), .inputs = rows.cols(), .numbers = {rows.data(), rows.data() + rows.size()}};
}

/// The experts by a row's scores, highest first, the first of equals.
void rank(const Rows& scores, int64_t row, std::vector<int64_t>& order) {
  std::iota(order.begin(), order.end(), int64_t{0});
  std::ranges::sort(order, [&](int64_t a, int64_t b) {
    return scores(row, a) != scores(row, b) ? scores(row, a) > scores(row, b) : a < b;
  });
}

class Splitter {
 public:
  Splitter(const MlpRows& rows, const Matrix& down, int64_t experts, int64_t used, core::ThreadPool& pool)
      : rows_(rows), down_(down), experts_(experts), used_(used), adder_(pool) {}
  Result<ExpertSplit> run();

 private:
  void cluster();
  Rows lengths() const;
  Status fit_router(const Rows& added);
  double share_of(const Rows& scores, const Rows& added) const;
  void choose(const Rows& scores);
  Status fit_down();
  Result<std::array<stats::Gram, 2>> products(const Rows& inputs, const Rows& targets);

  const MlpRows& rows_;
  const Matrix& down_;
  int64_t experts_;
  int64_t used_;
  stats::GramAdder adder_;
  std::vector<int> expert_of_;
  std::vector<bool> active_;  ///< [count, experts]
  ExpertSplit out_;
};

/// Units are alike that add much for the same tokens.
void Splitter::cluster() {
  const View held = view_of(rows_.held);
  const Eigen::VectorXf columns = view_of(down_).colwise().norm();
  const int64_t sampled = std::min(kSampled, rows_.count);
  Rows acts(held.cols(), sampled);
  for (int64_t s = 0; s < sampled; ++s)
    acts.col(s) = held.row(s * rows_.count / sampled).transpose().cwiseAbs().cwiseProduct(columns);
  expert_of_ = balanced_clusters(to_matrix(acts), experts_);
  out_.units.resize(static_cast<size_t>(experts_));
  for (size_t u = 0; u < expert_of_.size(); ++u)
    out_.units[static_cast<size_t>(expert_of_[u])].push_back(static_cast<int64_t>(u));
}

/// The length of what each expert adds to each row.
Rows Splitter::lengths() const {
  Rows out(rows_.count, experts_);
  for (int64_t e = 0; e < experts_; ++e) {
    const auto& units = out_.units[static_cast<size_t>(e)];
    const Rows made = view_of(rows_.held)(Eigen::all, units) * view_of(down_)(Eigen::all, units).transpose();
    out.col(e) = made.rowwise().norm();
  }
  return out;
}

/// Products of rows of inputs and targets side by side: of those that are fitted to, and of those that judge.
Result<std::array<stats::Gram, 2>> Splitter::products(const Rows& inputs, const Rows& targets) {
  const int64_t width = inputs.cols() + targets.cols();
  std::array<stats::Gram, 2> grams{stats::Gram(width), stats::Gram(width)};
  std::array<Rows, 2> waiting{Rows(kTogether, width), Rows(kTogether, width)};
  std::array<int64_t, 2> count{};
  const auto hand_over = [&](size_t kind) -> Status {
    if (count[kind] == 0) return {};
    LAMINA_CHECK_OK(adder_.add({.data = waiting[kind].data(), .stride = width, .count = count[kind]}, grams[kind]));
    count[kind] = 0;
    return {};
  };
  for (int64_t r = 0; r < rows_.count; ++r) {
    const size_t kind = rows_.judges[static_cast<size_t>(r)] ? 1 : 0;
    waiting[kind].row(count[kind]) << inputs.row(r), targets.row(r);
    if (++count[kind] == kTogether) LAMINA_CHECK_OK(hand_over(kind));
  }
  LAMINA_CHECK_OK(hand_over(0));
  LAMINA_CHECK_OK(hand_over(1));
  return grams;
}

/// Marks the experts with the highest scores of each row.
void Splitter::choose(const Rows& scores) {
  active_.assign(static_cast<size_t>(rows_.count * experts_), false);
  std::vector<int64_t> order(static_cast<size_t>(experts_));
  for (int64_t r = 0; r < rows_.count; ++r) {
    rank(scores, r, order);
    for (int64_t i = 0; i < used_; ++i)
      active_[static_cast<size_t>(r * experts_ + order[static_cast<size_t>(i)])] = true;
  }
}

/// Of the squared lengths that experts add to rows that judge, those of the experts with the highest scores.
double Splitter::share_of(const Rows& scores, const Rows& added) const {
  double sum = 0;
  double all = 0;
  std::vector<int64_t> order(static_cast<size_t>(experts_));
  for (int64_t r = 0; r < rows_.count; ++r) {
    if (!rows_.judges[static_cast<size_t>(r)]) continue;
    rank(scores, r, order);
    for (int64_t i = 0; i < experts_; ++i) {
      const double length = added(r, order[static_cast<size_t>(i)]);
      all += length * length;
      sum += i < used_ ? length * length : 0;
    }
  }
  return all > 0 ? sum / all : 1;
}

Status Splitter::fit_router(const Rows& added) {
  Rows wanted = added;
  for (int64_t r = 0; r < rows_.count; ++r) {
    const float mean = added.row(r).mean();
    wanted.row(r) = added.row(r).array() / std::max(mean, 1e-20F) - 1;
  }
  LAMINA_ASSIGN(const auto grams, products(view_of(rows_.read), wanted));
  out_.chosen = -1;
  for (const double ridge : kRouterRidges) {
    LAMINA_ASSIGN(Matrix router, regress(grams[0], rows_.read.inputs, ridge));
    const Rows scores = view_of(rows_.read) * view_of(router).transpose();
    const double share = share_of(scores, added);
    if (share <= out_.chosen) continue;
    out_.chosen = share;
    const float largest = scores.cwiseAbs().maxCoeff();
    out_.router = to_matrix(view_of(router) * (largest > 0 ? kLargestScore / largest : 1));
  }
  out_.most = share_of(added, added);
  choose(view_of(rows_.read) * view_of(out_.router).transpose());
  return {};
}

/// What the units that are used lack of what all of them make is told by them as well as it can be.
Status Splitter::fit_down() {
  out_.down = down_;
  if (used_ == experts_) return {};
  Rows held = view_of(rows_.held);
  const Rows whole = held * view_of(down_).transpose();
  for (int64_t r = 0; r < rows_.count; ++r) {
    for (int64_t u = 0; u < held.cols(); ++u) {
      if (!active_[static_cast<size_t>(r * experts_ + expert_of_[static_cast<size_t>(u)])]) held(r, u) = 0;
    }
  }
  const Rows lacking = whole - held * view_of(down_).transpose();
  double lacks = 0;
  double all = 0;
  for (int64_t r = 0; r < rows_.count; ++r) {
    if (!rows_.judges[static_cast<size_t>(r)]) continue;
    lacks += double{lacking.row(r).squaredNorm()};
    all += double{whole.row(r).squaredNorm()};
  }
  out_.unfitted = out_.lost = all > 0 ? lacks / all : 0;
  LAMINA_ASSIGN(auto grams, products(held, lacking));
  double best = 0;
  double chosen = 0;
  for (const double ridge : kDownRidges) {
    LAMINA_ASSIGN(const Matrix change, regress(grams[0], held.cols(), ridge));
    const double told = share_told(grams[1], change);
    if (told <= best) continue;
    best = told;
    chosen = ridge;
  }
  if (best <= 0) return {};
  const std::span<double> sums = grams[0].change();
  const std::span<const double> more = grams[1].sums();
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
  LAMINA_ASSIGN(const Matrix change, regress(grams[0], held.cols(), chosen));
  for (size_t i = 0; i < out_.down.numbers.size(); ++i) out_.down.numbers[i] += change.numbers[i];
  out_.lost = out_.unfitted * (1 - best);
  return {};
}

Result<ExpertSplit> Splitter::run() {
  cluster();
  LAMINA_CHECK_OK(fit_router(lengths()));
  LAMINA_CHECK_OK(fit_down());
  return std::move(out_);
}

}  // namespace

Result<ExpertSplit> split_experts(const MlpRows& rows, const Matrix& down, int64_t experts, int64_t used,
                                  core::ThreadPool& pool) {
  return Splitter(rows, down, experts, used, pool).run();
}

}  // namespace lamina::compress

#include "stats/attention_stats.h"

#include <algorithm>
#include <cmath>

#include "kernels/softmax.h"

namespace lamina::stats {

namespace {

constexpr int64_t kLanes = 8;
using Lanes = std::array<double, kLanes>;

double fold(const Lanes& lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// The sum of term(i) over begin <= i < end, in kLanes sums that take the numbers by turns.
template <typename Term>
double sum_over(int64_t begin, int64_t end, Term&& term) {
  Lanes lanes{};
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[static_cast<size_t>(lane)] += term(i + lane);
  }
  for (int64_t lane = 0; i + lane < end; ++lane) lanes[static_cast<size_t>(lane)] += term(i + lane);
  return fold(lanes);
}

/// Adds shares [keys] of the positions that lie in each span from `first_key` on.
void add_positions(const float* shares, int64_t first_key, int64_t keys, std::array<double, kSpans>& sums) {
  for (int64_t begin = 0; begin < keys;) {
    const size_t span = span_of(first_key + begin);
    const int64_t end = span + 1 < kSpans ? std::min(keys, span_begin(span + 1) - first_key) : keys;
    sums[span] += sum_over(begin, end, [shares](int64_t i) { return double{shares[i]}; });
    begin = end;
  }
}

/// The same by distance from the key at `own`, which need not be among them: those up to it, then those after it.
void add_distances(const float* shares, int64_t own, int64_t keys, std::array<double, kSpans>& sums) {
  const auto share = [shares](int64_t i) { return double{shares[i]}; };
  for (int64_t end = std::min(own + 1, keys); end > 0;) {
    const size_t span = span_of(own - (end - 1));
    const int64_t begin = span + 1 < kSpans ? std::max<int64_t>(0, own - span_begin(span + 1) + 1) : 0;
    sums[span] += sum_over(begin, end, share);
    end = begin;
  }
  for (int64_t begin = std::max<int64_t>(own + 1, 0); begin < keys;) {
    const size_t span = span_of(begin - own);
    const int64_t end = span + 1 < kSpans ? std::min(keys, own + span_begin(span + 1)) : keys;
    sums[span] += sum_over(begin, end, share);
    begin = end;
  }
}

}  // namespace

HeadSums& HeadSums::operator+=(const HeadSums& other) {
  entropy += other.entropy;
  sink += other.sink;
  for (size_t i = 0; i < kSpans; ++i) positions[i] += other.positions[i];
  for (size_t i = 0; i < kSpans; ++i) distances[i] += other.distances[i];
  return *this;
}

HeadSums measure_attention(const layers::AttentionScores& scores) {
  HeadSums out;
  const auto keys = std::ssize(scores.scores);
  if (keys == 0) return out;
  const bool has_sink = scores.sink > -INFINITY;
  const int64_t places = keys + (has_sink ? 1 : 0);
  float* shares = scores.work.data();
  std::ranges::copy(scores.scores, shares);
  if (has_sink) shares[keys] = scores.sink;
  const int64_t best = kernels::argmax(shares, places);
  const float top = shares[best];
  kernels::softmax(shares, places, shares);
  // -sum p ln p with ln p = s - top + ln p(top): no logarithm for each key.
  const float* s = scores.scores.data();
  double below = sum_over(0, keys, [&](int64_t i) { return double{shares[i]} * double{s[i] - top}; });
  if (has_sink) {
    out.sink = double{shares[keys]};
    below += out.sink * double{scores.sink - top};
  }
  out.entropy = std::max(0.0, -std::log(double{shares[best]}) - below);
  add_positions(shares, scores.first_key, keys, out.positions);
  add_distances(shares, scores.position - scores.first_key, keys, out.distances);
  return out;
}

void AttentionSums::begin(int layer, int64_t rows, int64_t heads) {
  layer_ = layer;
  rows_ = rows;
  heads_ = heads;
  step_.assign(static_cast<size_t>(rows * heads), {});
}

void AttentionSums::record(const layers::AttentionScores& scores) {
  step_[static_cast<size_t>(scores.row * heads_ + scores.head)] = measure_attention(scores);
}

void AttentionSums::end() {
  AttentionStats& sums = layers_[layer_];
  sums.layer = layer_;
  sums.rows += rows_;
  sums.heads.resize(static_cast<size_t>(heads_));
  for (size_t i = 0; i < step_.size(); ++i) sums.heads[i % sums.heads.size()] += step_[i];
}

std::vector<AttentionStats> AttentionSums::sums() const {
  std::vector<AttentionStats> out;
  for (const auto& [layer, sums] : layers_) out.push_back(sums);
  return out;
}

}  // namespace lamina::stats

#include "eval/summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "run/random.h"

namespace lamina::eval {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr int kMaxResamples = 100'000;
constexpr double kLowShare = 0.025;
constexpr double kHighShare = 0.975;

Status check(const Windows& samples, const Bootstrap& bootstrap) {
  if (bootstrap.resamples < 1 || bootstrap.resamples > kMaxResamples) {
    return fail(ErrorCode::kInvalid, "bootstrap", "{} resamples; 1 to {} expected", bootstrap.resamples, kMaxResamples);
  }
  if (samples.size() == 0) return fail(ErrorCode::kInvalid, "summary", "no values; at least one expected");
  if (std::ranges::any_of(samples.values(), [](double value) { return std::isnan(value); })) {
    return fail(ErrorCode::kInvalid, "summary", "a value is not a number");
  }
  return {};
}

/// A point between two neighbours; equal neighbours may be infinite.
double interpolate(double low, double high, double share) {
  if (low == high || share == 0 || std::isinf(low)) return low;
  return low + (high - low) * share;
}

double sorted_quantile(std::span<const double> sorted, double share) {
  const double rank = static_cast<double>(sorted.size() - 1) * share;
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return interpolate(sorted[below], sorted[above], rank - static_cast<double>(below));
}

/// How often resample `resample` draws each window.
void draw_counts(const Bootstrap& bootstrap, size_t resample, std::vector<uint32_t>& counts) {
  std::ranges::fill(counts, 0);
  const auto windows = static_cast<double>(counts.size());
  for (size_t k = 0; k < counts.size(); ++k) {
    const double unit = run::random_unit(bootstrap.seed, resample * counts.size() + k);
    ++counts[std::min(static_cast<size_t>(unit * windows), counts.size() - 1)];
  }
}

/// The interval of statistic(counts) over all resamples.
template <typename Statistic>
std::optional<Interval> interval_of(size_t windows, const Bootstrap& bootstrap, Statistic&& statistic) {
  if (windows < 2) return std::nullopt;
  std::vector<uint32_t> counts(windows);
  std::vector<double> results;
  for (size_t i = 0; i < static_cast<size_t>(bootstrap.resamples); ++i) {
    draw_counts(bootstrap, i, counts);
    results.push_back(statistic(counts));
  }
  std::ranges::sort(results);
  return Interval{sorted_quantile(results, kLowShare), sorted_quantile(results, kHighShare)};
}

/// Sums of windows; a mean over a resample needs no more.
struct Totals {
  std::vector<double> sums;
  std::vector<double> sizes;

  double mean(std::span<const uint32_t> counts) const {
    double sum = 0;
    double size = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      // A window that is not drawn must not turn an infinite sum into NaN.
      if (counts[i] == 0) continue;
      sum += counts[i] * sums[i];
      size += counts[i] * sizes[i];
    }
    return sum / size;
  }
};

Totals totals_of(const Windows& samples) {
  Totals totals;
  for (size_t i = 0; i < samples.windows(); ++i) {
    const std::span<const double> window = samples.window(i);
    totals.sums.push_back(std::accumulate(window.begin(), window.end(), 0.0));
    totals.sizes.push_back(static_cast<double>(window.size()));
  }
  return totals;
}

struct Ranked {
  double value;
  size_t window;
};

/// The quantile of a resample. `falling` holds every value with its window, the highest first, so that only the values
/// above the quantile are walked.
double resampled_quantile(std::span<const Ranked> falling, std::span<const uint32_t> counts, size_t total,
                          double share) {
  const double rank = static_cast<double>(total - 1) * share;
  const auto below = static_cast<size_t>(rank);
  // Ranks counted from the top.
  const size_t low_rank = total - 1 - below;
  const size_t high_rank = low_rank == 0 ? 0 : low_rank - 1;
  size_t passed = 0;
  double high = 0;
  bool high_found = false;
  for (const Ranked& item : falling) {
    passed += counts[item.window];
    if (!high_found && passed > high_rank) {
      high = item.value;
      high_found = true;
    }
    if (passed > low_rank) return interpolate(item.value, high, rank - static_cast<double>(below));
  }
  return falling.back().value;
}

}  // namespace

void Windows::add(std::span<const double> values) {
  if (values.empty()) return;
  values_.insert(values_.end(), values.begin(), values.end());
  ends_.push_back(values_.size());
}

std::span<const double> Windows::window(size_t index) const {
  const size_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::span(values_).subspan(begin, ends_[index] - begin);
}

Result<Estimate> mean(const Windows& samples, const Bootstrap& bootstrap) {
  LAMINA_CHECK_OK(check(samples, bootstrap));
  const Totals totals = totals_of(samples);
  const double value = totals.mean(std::vector<uint32_t>(samples.windows(), 1));
  if (std::isnan(value)) return fail(ErrorCode::kInvalid, "summary", "values of both infinities have no mean");
  return Estimate{value, interval_of(samples.windows(), bootstrap,
                                     [&](std::span<const uint32_t> counts) { return totals.mean(counts); })};
}

Result<Estimate> quantile(const Windows& samples, double share, const Bootstrap& bootstrap) {
  LAMINA_CHECK_OK(check(samples, bootstrap));
  if (!(share >= 0 && share <= 1)) {
    return fail(ErrorCode::kInvalid, "summary", "quantile {}; 0 to 1 expected", share);
  }
  std::vector<Ranked> falling;
  std::vector<size_t> sizes;
  for (size_t i = 0; i < samples.windows(); ++i) {
    for (const double value : samples.window(i)) falling.push_back({value, i});
    sizes.push_back(samples.window(i).size());
  }
  std::ranges::sort(falling, [](const Ranked& a, const Ranked& b) {
    return a.value != b.value ? a.value > b.value : a.window < b.window;
  });
  const auto of = [&](std::span<const uint32_t> counts) {
    const size_t total = std::inner_product(counts.begin(), counts.end(), sizes.begin(), size_t{0});
    return resampled_quantile(falling, counts, total, share);
  };
  const std::vector<uint32_t> once(samples.windows(), 1);
  return Estimate{of(once), interval_of(samples.windows(), bootstrap, of)};
}

Result<Estimate> perplexity(const Windows& samples, const Bootstrap& bootstrap) {
  LAMINA_ASSIGN(Estimate result, mean(samples, bootstrap));
  result.value = std::exp(result.value);
  if (result.interval) result.interval = Interval{std::exp(result.interval->low), std::exp(result.interval->high)};
  return result;
}

Result<Estimate> mean_difference(const Windows& model, const Windows& reference, const Bootstrap& bootstrap) {
  LAMINA_CHECK_OK(check(model, bootstrap));
  LAMINA_CHECK_OK(check(reference, bootstrap));
  bool paired = model.windows() == reference.windows();
  for (size_t i = 0; paired && i < model.windows(); ++i) {
    paired = model.window(i).size() == reference.window(i).size();
  }
  if (!paired) {
    return fail(ErrorCode::kInvalid, "summary",
                "{} windows with {} values against {} with {}; the same windows expected", model.windows(),
                model.size(), reference.windows(), reference.size());
  }
  Windows differences;
  for (size_t i = 0; i < model.windows(); ++i) {
    std::vector<double> window;
    for (size_t k = 0; k < model.window(i).size(); ++k) {
      const double a = model.window(i)[k];
      const double b = reference.window(i)[k];
      window.push_back(a == b ? 0 : a - b);
    }
    differences.add(window);
  }
  return mean(differences, bootstrap);
}

Result<Summary> summarize(const Windows& samples, const Bootstrap& bootstrap) {
  Summary summary;
  LAMINA_ASSIGN(summary.mean, mean(samples, bootstrap));
  LAMINA_ASSIGN(summary.p99, quantile(samples, 0.99, bootstrap));
  return summary;
}

}  // namespace lamina::eval

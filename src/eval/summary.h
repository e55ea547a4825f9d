#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/result.h"

namespace lamina::eval {

/// Values of one measure, one per scored position, grouped by window of text. Positions of one window depend on each
/// other; windows are taken to be independent, so windows are what the bootstrap draws.
class Windows {
 public:
  /// Adds a window; one without values is left out.
  void add(std::span<const double> values);
  size_t windows() const { return ends_.size(); }
  size_t size() const { return values_.size(); }
  std::span<const double> values() const { return values_; }
  std::span<const double> window(size_t index) const;

 private:
  std::vector<double> values_;
  std::vector<size_t> ends_;
};

struct Interval {
  double low = 0;
  double high = 0;
};

/// A figure and its 95 % interval, which is absent when there are fewer than two windows: nothing to resample.
struct Estimate {
  double value = 0;
  std::optional<Interval> interval;
};

/// Percentile bootstrap over windows (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13).
/// Resample r, draw k takes window floor(u * windows) with u from Philox(seed, r * windows + k): equal numbers of
/// windows see the same resamples, which is what pairs two measures.
struct Bootstrap {
  int resamples = 1000;  ///< 1 to 100000
  uint64_t seed = 0;
};

/// The mean over all positions. Errors (of all functions here): kInvalid if there are no values, one is NaN, or the
/// number of resamples is outside its range.
core::Result<Estimate> mean(const Windows& samples, const Bootstrap& bootstrap = {});

/// The `share` quantile over all positions (0.99 is p99), between two order statistics by linear interpolation.
core::Result<Estimate> quantile(const Windows& samples, double share, const Bootstrap& bootstrap = {});

/// exp of the mean: `samples` are negative log-likelihoods in nats.
core::Result<Estimate> perplexity(const Windows& samples, const Bootstrap& bootstrap = {});

/// mean(model) - mean(reference), paired: both must have the same windows of the same lengths. For negative
/// log-likelihoods this is ln(PPL / PPL0).
core::Result<Estimate> mean_difference(const Windows& model, const Windows& reference, const Bootstrap& bootstrap = {});

/// The figures of one measure as reports print them.
struct Summary {
  Estimate mean;
  Estimate p99;
};
core::Result<Summary> summarize(const Windows& samples, const Bootstrap& bootstrap = {});

}  // namespace lamina::eval

#include "models/rope_factors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/rope_factors.h"

namespace lamina::models {

using kernels::RopeOptions;

namespace {

constexpr double kUsualHigh = 4.0;
constexpr double kTolerance = 2e-6;  // writers compute the divisors in float32

/// A divisor between 1 and the factor: how much of the frequency is kept, and the frequency.
struct Blend {
  double keep = 0;
  double frequency = 0;
};

std::vector<Blend> blends_of(std::span<const float> factors, double base, double most) {
  std::vector<Blend> blends;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double factor = factors[i];
    if (factor <= 1 + kTolerance || factor >= most * (1 - kTolerance)) continue;
    const double keep = (1 / factor - 1 / most) / (1 - 1 / most);
    blends.push_back({keep, std::pow(base, -static_cast<double>(i) / static_cast<double>(factors.size()))});
  }
  return blends;
}

/// With low = 1, keep = (context * frequency / 2 pi - 1) / (high - 1).
double context_of(const Blend& blend, double high) {
  return (blend.keep * (high - 1) + 1) * 2 * std::numbers::pi / blend.frequency;
}

/// High frequency factors that may have been meant, the usual one first.
std::vector<double> high_factors(const std::vector<Blend>& blends) {
  std::vector<double> highs{kUsualHigh};
  if (blends.size() < 2) return highs;
  const Blend& a = blends.front();
  const Blend& b = blends.back();
  const double ratio = a.frequency / b.frequency;  // (1 + a.keep * h) / (1 + b.keep * h), h = high - 1
  const double h = (ratio - 1) / (a.keep - ratio * b.keep);
  if (std::isfinite(h) && h > 0) {
    highs.push_back(1 + std::round(h * 1000) / 1000);
    highs.push_back(1 + h);
  }
  return highs;
}

/// Contexts that may have been meant where no divisor lies between the ends: the last kept and the first stretched
/// frequency bound it.
std::vector<double> contexts_between(std::span<const float> factors, double base) {
  const auto first = std::ranges::find_if(factors, [](float factor) { return factor > 1; }) - factors.begin();
  const auto frequency = [&](std::ptrdiff_t i) {
    return std::pow(base, -static_cast<double>(i) / static_cast<double>(factors.size()));
  };
  const double most = 2 * std::numbers::pi / frequency(first);
  const double least = first == 0 ? 1 : kUsualHigh * 2 * std::numbers::pi / frequency(first - 1);
  std::vector<double> contexts;
  for (double context = 1; context <= most; context *= 2) {
    if (context >= least) contexts.push_back(context);
  }
  contexts.push_back(std::floor(most));
  return contexts;
}

/// The largest relative difference; infinite where the rule is impossible.
double distance(std::span<const float> factors, const RopeOptions& options) {
  const auto made = kernels::llama3_factors(options);
  if (!made) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < factors.size(); ++i)
    worst = std::max(worst, std::fabs(double{(*made)[i]} / double{factors[i]} - 1));
  return worst;
}

}  // namespace

std::optional<RopeOptions> find_llama3(std::span<const float> factors, double base) {
  if (factors.empty() || !(base > 1)) return std::nullopt;
  if (!std::ranges::all_of(factors, [](float factor) { return std::isfinite(factor) && factor >= 1; })) return {};
  const double most = *std::ranges::max_element(factors);
  if (most <= 1) return std::nullopt;
  const std::vector<Blend> blends = blends_of(factors, base, most);
  RopeOptions best;
  double least = kTolerance;
  const auto consider = [&](double high, double context) {
    RopeOptions options;
    options.rotary = 2 * static_cast<int64_t>(factors.size());
    options.base = base;
    options.scaling = "llama3";
    options.factor = most;
    options.original_context = context;
    options.high_freq_factor = high;
    const double found = distance(factors, options);
    if (found >= least) return;
    least = found;
    best = options;
  };
  for (const double high : high_factors(blends)) {
    if (blends.empty()) {
      for (const double context : contexts_between(factors, base)) consider(high, context);
    } else {
      consider(high, std::round(context_of(blends.front(), high)));
      consider(high, context_of(blends.front(), high));
    }
  }
  return least < kTolerance ? std::optional(best) : std::nullopt;
}

}  // namespace lamina::models

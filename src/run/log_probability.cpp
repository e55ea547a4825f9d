#include "run/log_probability.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lamina::run {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

/// A logit as the sampler reads it.
double sanitized(float logit) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (std::isnan(logit)) return kLowest;
  return logit > kLargest ? kLargest : logit;
}

bool more_likely(const TokenLogProbability& a, const TokenLogProbability& b) {
  return a.log_probability != b.log_probability ? a.log_probability > b.log_probability : a.id < b.id;
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  double highest = kLowest;
  for (const float logit : logits) highest = std::max(highest, sanitized(logit));
  if (highest == kLowest) return kLowest;
  double sum = 0;
  for (const float logit : logits) sum += std::exp(sanitized(logit) - highest);
  return highest + std::log(sum);
}

void log_probabilities(std::span<const float> logits, std::span<const int32_t> ids, std::span<double> out) {
  const double total = log_sum_exp(logits);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<size_t>(ids[i]);
    const bool none = ids[i] < 0 || id >= logits.size() || total == kLowest;
    out[i] = none ? kLowest : sanitized(logits[id]) - total;
  }
}

std::vector<TokenLogProbability> top_log_probabilities(std::span<const float> logits, int n) {
  // A heap whose front is the least likely of the tokens kept.
  std::vector<TokenLogProbability> kept;
  const size_t limit = n < 0 ? 0 : static_cast<size_t>(n);
  for (size_t i = 0; i < logits.size() && limit > 0; ++i) {
    const TokenLogProbability token{static_cast<int32_t>(i), sanitized(logits[i])};
    if (token.log_probability == kLowest) continue;
    if (kept.size() == limit) {
      if (!more_likely(token, kept.front())) continue;
      std::ranges::pop_heap(kept, more_likely);
      kept.pop_back();
    }
    kept.push_back(token);
    std::ranges::push_heap(kept, more_likely);
  }
  std::ranges::sort(kept, more_likely);
  const double total = log_sum_exp(logits);
  for (TokenLogProbability& token : kept) token.log_probability -= total;
  return kept;
}

}  // namespace lamina::run

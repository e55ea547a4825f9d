#include "run/log_probability.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lamina::run {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

bool more_likely(const TokenLogProbability& a, const TokenLogProbability& b) {
  return a.log_probability != b.log_probability ? a.log_probability > b.log_probability : a.id < b.id;
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  float highest = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) highest = logit > highest ? logit : highest;
  if (std::isinf(highest)) return highest;
  double sum = 0;
  for (const float logit : logits) {
    if (!std::isnan(logit)) sum += std::exp(static_cast<double>(logit) - static_cast<double>(highest));
  }
  return static_cast<double>(highest) + std::log(sum);
}

void log_probabilities(std::span<const float> logits, std::span<const int32_t> ids, std::span<double> out) {
  const double total = log_sum_exp(logits);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<size_t>(ids[i]);
    const bool none = ids[i] < 0 || id >= logits.size() || std::isnan(logits[id]) || std::isinf(total);
    out[i] = none ? kLowest : static_cast<double>(logits[id]) - total;
  }
}

std::vector<TokenLogProbability> top_log_probabilities(std::span<const float> logits, int n) {
  // A heap whose front is the least likely of the tokens kept.
  std::vector<TokenLogProbability> kept;
  const size_t limit = n < 0 ? 0 : static_cast<size_t>(n);
  for (size_t i = 0; i < logits.size() && limit > 0; ++i) {
    const TokenLogProbability token{static_cast<int32_t>(i), logits[i]};
    if (!(token.log_probability > kLowest)) continue;
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

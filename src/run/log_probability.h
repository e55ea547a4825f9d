#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lamina::run {

struct TokenLogProbability {
  int32_t id = 0;
  double log_probability = 0;
};

// As in the sampler, NaN counts as -infinity and +infinity as the largest float.

/// ln(sum(exp(logits))) in double, added in index order, so that the bits depend on the logits alone; -infinity if
/// nothing is above it.
double log_sum_exp(std::span<const float> logits);

/// out[i] = ln softmax(logits)[ids[i]] for each id; -infinity for ids outside the logits. out: as long as ids.
void log_probabilities(std::span<const float> logits, std::span<const int32_t> ids, std::span<double> out);

/// The `n` most likely tokens, most likely first, the lower id first among equals; fewer if fewer are above -infinity.
std::vector<TokenLogProbability> top_log_probabilities(std::span<const float> logits, int n);

}  // namespace lamina::run

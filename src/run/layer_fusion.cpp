#include "run/layer_fusion.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/softmax.h"

namespace lamina::run {

void fuse_logits(const recipe::FusePlan& plan, std::span<const float> earlier, std::span<float> logits) {
  const auto highest = logits[static_cast<size_t>(kernels::argmax(logits.data(), std::ssize(logits)))];
  const auto threshold = static_cast<float>(double{highest} + std::log(plan.share));
  const double total = kernels::log_sum_exp(earlier.data(), std::ssize(earlier));
  const auto gain = [&](size_t i) { return static_cast<float>(double{earlier[i]} - total); };
  float least = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= threshold) least = std::min(least, gain(i));
  }
  const auto weight = static_cast<float>(plan.weight);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] += weight * (logits[i] >= threshold ? gain(i) : least);
}

}  // namespace lamina::run

#include "eval/metrics.h"

#include <cmath>
#include <limits>

namespace lamina::eval {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

struct Highest {
  int32_t id = 0;
  float logit = -std::numeric_limits<float>::infinity();
};

/// The most likely token of a row that is fit to be measured.
Result<Highest> find_highest(std::span<const float> logits) {
  Highest highest;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < std::numeric_limits<float>::infinity())) {
      return fail(ErrorCode::kCorrupt, "logits", "token {} has {}; a finite number or -infinity expected", i,
                  logits[i]);
    }
    if (logits[i] > highest.logit) highest = {static_cast<int32_t>(i), logits[i]};
  }
  if (std::isinf(highest.logit)) {
    return fail(ErrorCode::kCorrupt, "logits", "none of {} is above -infinity; at least one expected", logits.size());
  }
  return highest;
}

/// ln(sum(exp(logit - highest))).
double log_sum(std::span<const float> logits, double highest) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return std::log(sum);
}

core::Status check_lengths(std::span<const float> reference, std::span<const float> model) {
  if (reference.size() == model.size()) return {};
  return fail(ErrorCode::kInvalid, "logits", "the reference has {} tokens, the model {}; the same vocabulary expected",
              reference.size(), model.size());
}

}  // namespace

Result<double> negative_log_likelihood(std::span<const float> logits, int32_t target) {
  if (target < 0 || static_cast<size_t>(target) >= logits.size()) {
    return fail(ErrorCode::kInvalid, "target", "found token {}; 0 to {} expected", target,
                static_cast<int64_t>(logits.size()) - 1);
  }
  LAMINA_ASSIGN(const Highest highest, find_highest(logits));
  const double top = highest.logit;
  return log_sum(logits, top) - (static_cast<double>(logits[static_cast<size_t>(target)]) - top);
}

Result<double> kl_divergence(std::span<const float> reference, std::span<const float> model) {
  LAMINA_CHECK_OK(check_lengths(reference, model));
  LAMINA_ASSIGN(const Highest reference_highest, find_highest(reference));
  LAMINA_ASSIGN(const Highest model_highest, find_highest(model));
  const double reference_top = reference_highest.logit;
  const double model_top = model_highest.logit;
  const double reference_log = log_sum(reference, reference_top);
  const double model_log = log_sum(model, model_top);
  double divergence = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = static_cast<double>(reference[i]) - reference_top - reference_log;
    const double p = std::exp(log_p);
    if (p == 0) continue;
    divergence += p * (log_p - (static_cast<double>(model[i]) - model_top - model_log));
  }
  // Rounding can leave a tiny negative sum where the rows are almost equal.
  return divergence < 0 ? 0 : divergence;
}

Result<int32_t> top1(std::span<const float> logits) {
  LAMINA_ASSIGN(const Highest highest, find_highest(logits));
  return highest.id;
}

Result<bool> same_top1(std::span<const float> reference, std::span<const float> model) {
  LAMINA_CHECK_OK(check_lengths(reference, model));
  LAMINA_ASSIGN(const int32_t expected, top1(reference));
  LAMINA_ASSIGN(const int32_t found, top1(model));
  return expected == found;
}

}  // namespace lamina::eval

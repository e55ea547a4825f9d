#pragma once

#include <cstdint>
#include <span>

#include "core/result.h"

namespace lamina::eval {

// Measures of one row of logits: one position, every token of the vocabulary. All sums are in double and in index
// order, so equal logits give equal bits. Logits must be finite or -infinity, at least one of them finite: anything
// else is an error that names the token, never a number.

/// -ln softmax(logits)[target], in nats; +infinity if the target's logit is -infinity.
/// Errors: kInvalid for a target outside the row, kCorrupt for NaN or +infinity.
core::Result<double> negative_log_likelihood(std::span<const float> logits, int32_t target);

/// KL(reference || model) = sum p ln(p / q) with p, q the softmax of the two rows, in nats, at least 0; +infinity where
/// the model rules out a token that the reference does not.
/// Errors: kInvalid for rows of different length, kCorrupt for NaN or +infinity.
core::Result<double> kl_divergence(std::span<const float> reference, std::span<const float> model);

/// The most likely token, the lowest id among equals.
core::Result<int32_t> top1(std::span<const float> logits);

/// Whether both rows have the same most likely token.
core::Result<bool> same_top1(std::span<const float> reference, std::span<const float> model);

}  // namespace lamina::eval

#pragma once

#include <span>

#include "recipe/plan.h"

namespace lamina::run {

/// Adds to the logits of the tokens that are likely enough, those with `plan.share` of the likeliest one's probability,
/// `plan.weight` times the log probability that an earlier layer's logits give them; to all others as much as to the
/// one of them to which that layer gives least, so that none of them gains on these. Layer-fused decoding (LFD), which
/// takes 1 as the weight and bans the others.
void fuse_logits(const recipe::FusePlan& plan, std::span<const float> earlier, std::span<float> logits);

}  // namespace lamina::run

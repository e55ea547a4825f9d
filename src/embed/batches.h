#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/result.h"
#include "run/runner.h"

namespace lamina::embed {

/// One input of an encoder: its tokens, and their types where a model tells texts of a pair apart (else empty).
struct Input {
  std::vector<int32_t> ids;
  std::vector<int32_t> types;
};

/// Told after each step which inputs it held, in the order of its rows, and the logits of their first rows.
using StepDone = std::function<void(std::span<const size_t> inputs, std::span<const float> logits)>;

/// Runs whole inputs in steps without padding, the longest first, as many as rows and sequences allow. With
/// `wants_logits` the first row of each makes logits. Nothing stays in the runner. kInvalid: an empty input; kLimit:
/// one that is longer than the runner's context or rows.
core::Status run_inputs(run::Runner& runner, std::span<const Input> inputs, bool wants_logits, const StepDone& done);

}  // namespace lamina::embed

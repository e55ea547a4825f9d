#pragma once

#include <cstdint>
#include <span>

#include "recipe/plan.h"

namespace lamina::run {

/// Numbers that are kept of one text after one visit; zeros before its first token.
int64_t reweave_state_floats(const recipe::ReweavePlan& plan, int64_t hidden);
/// Memory that a thread needs for reweave_rows().
int64_t reweave_scratch_bytes(const recipe::ReweavePlan& plan, int64_t hidden);

/// Goes through rows of a text, one after another, as they leave a visit: [count, hidden]. Each is compared with the
/// states that are kept of the rows before it, and `plan.weight` of it is replaced by their mean, those most like it
/// weighing most, brought to its length; then it is kept too, as it came. When `plan.keep` are there, it takes the
/// place of the one most like it. So rare ones stay. Rows in several calls give the same bits.
///
/// Of a row h: u = h / sqrt(mean(h^2)); c_j = u . k_j / hidden over the kept states k_j; p = softmax(sharpness * c);
/// h += weight * (h . u / hidden * sum of p_j * v_j - h), where v_j is k_j, or with `plan.next` the u of the row after
/// the one that k_j is of. Contextual Memory Reweaving (2025) learns what is kept and how it is weighed; this takes
/// cosines for both.
void reweave_rows(const recipe::ReweavePlan& plan, std::span<float> rows, int64_t hidden, float* state, float* scratch);

}  // namespace lamina::run

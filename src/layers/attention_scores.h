#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "layers/step.h"

namespace lamina::layers {

/// Where the rows of AttentionArgs stand: neighbouring tokens, with the same neighbouring heads each.
struct ScoredTile {
  int64_t first_row = 0;       ///< of the step
  int64_t first_position = 0;  ///< of that row in its text
  int64_t first_head = 0;
  int64_t heads = 0;
};

/// Who is told of the step's attention, or null.
inline AttentionRecorder* attention_recorder(const Step& step) {
  return step.recorder == nullptr ? nullptr : step.recorder->attention();
}

/// Makes the scores of rows again and tells them, some rows at a time: its memory is the numbers of one row's keys, or
/// kScoreFloats when these are fewer.
void record_scores(const kernels::AttentionArgs& args, const ScoredTile& tile, AttentionRecorder& recorder);

}  // namespace lamina::layers

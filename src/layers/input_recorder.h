#pragma once

#include <cstdint>
#include <span>

namespace lamina::layers {

class Linear;

/// Rows that matrices are about to be multiplied by: `count` rows, `stride` floats apart.
struct InputRows {
  const float* data = nullptr;
  int64_t stride = 0;
  int64_t count = 0;
};

/// The experts that the rows of a step go to.
struct ExpertChoices {
  int layer = 0;
  int64_t rows = 0;
  int64_t used = 0;  ///< by each row
  int64_t experts = 0;
  const int32_t* chosen = nullptr;  ///< [rows, used], best first, none twice
  const float* shares = nullptr;    ///< [rows, used]
};

/// What one head makes of the keys that one row of a step sees.
struct AttentionScores {
  int64_t row = 0;  ///< of the step
  int64_t head = 0;
  int64_t position = 0;           ///< of the row in its text
  int64_t first_key = 0;          ///< position of the first key
  std::span<const float> scores;  ///< of neighbouring keys, before the softmax
  float sink = 0;                 ///< a logit that takes part in the softmax and is no key; -inf: none
  std::span<float> work;          ///< one number more than scores, to work in
};

/// Told how heads spread their attention over the keys.
class AttentionRecorder {
 public:
  virtual ~AttentionRecorder() = default;
  /// The attention of a layer follows: record() once for each of the rows and heads, then end().
  virtual void begin(int layer, int64_t rows, int64_t heads) = 0;
  /// Called by all threads, in any order.
  virtual void record(const AttentionScores& scores) = 0;
  virtual void end() = 0;
};

/// Told what matrices read, for statistics. Called by the thread that runs the step, between its parallel parts, which
/// may use the pool.
class InputRecorder {
 public:
  virtual ~InputRecorder() = default;
  /// Each of `readers` is about to be multiplied by these rows.
  virtual void record(std::span<const Linear* const> readers, const InputRows& rows) = 0;
  /// Rows are about to go to experts.
  virtual void record_experts(const ExpertChoices& /*choices*/) {}
  /// Who is told of attention; null: nobody, and scores are not made again.
  virtual AttentionRecorder* attention() { return nullptr; }
};

}  // namespace lamina::layers

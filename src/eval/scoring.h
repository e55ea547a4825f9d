#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "eval/summary.h"
#include "format/npy.h"
#include "run/runner.h"

namespace lamina::eval {

/// Tokens of which those from `first_target` on are predicted, each from all before it: a window of text, or a prompt
/// with its answer. 1 <= first_target < tokens.size().
struct ScoredSequence {
  std::vector<int32_t> tokens;
  int64_t first_target = 1;

  /// Tokens that the model reads: the last one only is a target.
  int64_t inputs() const { return static_cast<int64_t>(tokens.size()) - 1; }
  int64_t targets() const { return static_cast<int64_t>(tokens.size()) - first_target; }
};

/// Cuts `tokens` into whole windows of `size` tokens, at most `limit` (0: all), in each of which the tokens from
/// `first_target` on are predicted. Errors: kInvalid when there is no whole window or first_target is outside it.
core::Result<std::vector<ScoredSequence>> cut_windows(std::span<const int32_t> tokens, int64_t size,
                                                      int64_t first_target, int64_t limit);

/// The inputs [begin, end) of one sequence, as a part of a step.
struct Slice {
  size_t sequence = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

/// Where the logits of the targets come from.
class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual int64_t vocabulary() const = 0;
  /// Logits [targets in the step][vocabulary], valid until the next call. Steps come in order: the slices of a sequence
  /// adjoin, and only the first slice of a step can continue an older sequence.
  virtual core::Result<std::span<const float>> step(std::span<const Slice> slices) = 0;
};

/// The logits that a runner computes for `sequences`, over its own route or another of its plan_route(); all must
/// outlive the source.
std::unique_ptr<LogitSource> logits_of_runner(run::Runner& runner, std::span<const ScoredSequence> sequences,
                                              const run::Route* route = nullptr);

/// The logits of a float32 file [rows, vocabulary]: either a row for each target, in order, or a row for each token of
/// each sequence (row i of a sequence follows its token i; the last is not used). kInvalid with the numbers for any
/// other number of rows. Both arguments must outlive the source.
core::Result<std::unique_ptr<LogitSource>> logits_of_file(const format::NpyFile& file,
                                                          std::span<const ScoredSequence> sequences);

/// Rows and sequences that one step of scoring may have.
struct StepShape {
  int64_t rows = 512;
  int32_t sequences = 1;
};

/// A shape that keeps steps full and their logits below 64 MiB, for runners and for score().
StepShape step_shape(std::span<const ScoredSequence> sequences, int64_t vocabulary);

/// What was measured, one value a target, grouped by sequence.
struct Scores {
  Windows nll;            ///< -ln p(target), in nats
  Windows hits;           ///< 1 where the target is the most likely token, else 0
  Windows reference_nll;  ///< this and the next two are empty without a reference
  Windows kl;             ///< KL(reference || model), in nats
  Windows agreement;      ///< 1 where both have the same most likely token, else 0
};

/// Told how many of the inputs are done; returning false cancels.
using ScoreProgress = std::function<bool(int64_t done, int64_t total)>;

/// Runs the sequences through the model and, unless null, the reference, side by side, and measures every target.
/// Errors: kInvalid when the vocabularies differ, kCancelled, and those of the sources and of eval/metrics.h.
core::Result<Scores> score(std::span<const ScoredSequence> sequences, LogitSource& model, LogitSource* reference,
                           StepShape shape, core::ThreadPool& pool, const ScoreProgress& progress);

}  // namespace lamina::eval

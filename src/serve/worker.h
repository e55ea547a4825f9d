#pragma once

#include <cstdint>
#include <vector>

#include "core/result.h"
#include "serve/pace.h"

namespace lamina::serve {

/// What a worker has done and has still to do, for limits and metrics.
struct WorkerCounts {
  int64_t waiting = 0;
  int64_t running = 0;
  int64_t steps = 0;
  double step_seconds = 0;                    ///< that the model took for them
  int64_t prompt_tokens = 0;                  ///< read, those that were read again among them
  int64_t generated_tokens = 0;               ///< written
  int64_t drafted_tokens = 0;                 ///< guessed
  int64_t accepted_tokens = 0;                ///< of them, that were right
  int64_t set_back = 0;                       ///< times a sequence lost its cache to older ones
  int64_t reused_texts = 0;                   ///< prompts that began as another text did whose keys and values are kept
  int64_t reused_tokens = 0;                  ///< of them, tokens that were not computed again
  int64_t evicted = 0;                        ///< kept pieces of texts that had to make room
  int64_t cancelled = 0;                      ///< parts whose client went away
  int64_t cache_blocks = 0;                   ///< there are
  int64_t cache_blocks_used = 0;              ///< of them, by texts that run
  int64_t cache_blocks_kept = 0;              ///< of them, by texts that have ended and may be continued
  std::vector<double> first_token_seconds{};  ///< of parts that have ended since the last call of step()
  std::vector<double> token_gap_seconds{};    ///< between the tokens written in the last step and those before them
};

inline core::Error ended_error() {
  return {core::ErrorCode::kCancelled, "server", "it has ended before the answer"};
}

/// What the next step of a worker is about.
struct WorkerLoad {
  bool writes = false;       ///< somebody waits for the next token of a text
  bool reads = false;        ///< there are texts to be read
  double plain_seconds = 0;  ///< of a step that only writes; 0: not yet known
};

/// Works for one model on the scheduler's thread.
class Worker {
 public:
  virtual ~Worker() = default;
  /// Does the next piece of work, short enough for others to wait for; false when there is none.
  virtual bool step() = 0;
  virtual WorkerCounts counts() const = 0;
  virtual WorkerLoad load() const = 0;
  /// Tells the ends of the answers that the last step completed, which it kept back: who has an answer and asks for
  /// counts() or layers gets figures that have it.
  virtual void tell_ends() = 0;
  /// Tells all who still wait that nothing comes any more.
  virtual void end_rest() = 0;
  /// How long the next steps may read, for the sake of those who wait for other models' tokens.
  void set_read_seconds(double seconds) { read_seconds_ = seconds; }

 protected:
  double read_seconds() const { return read_seconds_; }

 private:
  double read_seconds_ = kNoHurry;
};

}  // namespace lamina::serve

#pragma once

#include <span>
#include <vector>

#include "run/runner.h"

namespace lamina::serve {

/// Sequences of a runner that nobody writes any more, and whose keys and values are still right for their tokens. They
/// depend on the tokens, the model and its recipe, all of which a runner has one of, so that a text with the same first
/// tokens can go on from them; the tenant keeps users from learning by its time what others have asked.
class KeptTexts {
 public:
  /// `runner` must outlive it.
  explicit KeptTexts(run::Runner& runner) : runner_(runner) {}

  /// Takes the sequence over: what is computed of `tokens` is kept, or closed when it is too little to be of use.
  void add(cache::SequenceId sequence, std::span<const int32_t> tokens, uint64_t tenant);
  /// A sequence that has computed as many first tokens of `tokens` as can be had, but not all; none: {}.
  cache::SequenceId take(std::span<const int32_t> tokens, uint64_t tenant);
  /// Closes the sequence that was used longest ago; false when there is none.
  bool evict();
  /// Blocks that are held for them.
  int64_t blocks() const;
  int64_t evicted() const { return evicted_; }

 private:
  struct Kept {
    cache::SequenceId sequence{};
    std::vector<int32_t> tokens;
    uint64_t tenant = 0;
  };

  run::Runner& runner_;
  std::vector<Kept> kept_;  ///< the one that was used longest ago first
  int64_t evicted_ = 0;
};

}  // namespace lamina::serve

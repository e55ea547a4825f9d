#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::run {

/// How the next token is drawn. docs/sampling.md has the order of the steps and the reasons for the defaults.
struct SamplingOptions {
  float temperature = 0.8f;        ///< 0: the most likely token, no draw and no filters
  int top_k = 40;                  ///< keep the k most likely; 0: all
  float top_p = 0.95f;             ///< keep the fewest most likely tokens with this mass; 1: all
  float min_p = 0.05f;             ///< drop tokens below this share of the most likely one's probability; 0: none
  float typical_p = 1.0f;          ///< keep the fewest tokens nearest the entropy with this mass; 1: all
  float repeat_penalty = 1.0f;     ///< divides positive and multiplies negative logits of seen tokens; 1: off
  float presence_penalty = 0.0f;   ///< taken from the logit of a seen token
  float frequency_penalty = 0.0f;  ///< taken from the logit of a seen token once per time it was seen
  int penalty_window = 64;         ///< how many of the last tokens count as seen; 0: none, -1: all
  std::vector<std::pair<int32_t, float>> logit_bias{};  ///< added to logits; -infinity bans a token
  uint64_t seed = 0;
};

/// Whether a sampler can be made: ranges, and bias tokens inside the vocabulary. The error's place is
/// "sampling option NAME", its message the value found and those allowed.
core::Status check(const SamplingOptions& options, int vocabulary);

/// Draws tokens. Allocates when made, never after. The n-th draw depends on the seed, n, the logits and the history
/// alone. Not for use by several threads at once.
class Sampler {
 public:
  /// `options` must have passed check() for `vocabulary`.
  Sampler(SamplingOptions options, int vocabulary);

  /// The next token's id. logits: [vocabulary]; NaN counts as -infinity, +infinity as the largest float.
  /// history: the sequence's tokens so far, prompt included; ids outside the vocabulary are ignored.
  /// allowed: bit i % 64 of word i / 64 for each token that may be drawn; tokens beyond the words may not; no words:
  /// all may. Errors: kInvalid if the number of logits is wrong or no logit is above -infinity.
  core::Result<int32_t> sample(std::span<const float> logits, std::span<const int32_t> history,
                               std::span<const uint64_t> allowed = {});

  /// The number of the next draw. Setting it replays or skips draws.
  uint64_t step() const { return step_; }
  void set_step(uint64_t step) { step_ = step; }
  const SamplingOptions& options() const { return options_; }

 private:
  static constexpr size_t kBlock = 64;
  struct Candidate {
    float logit;
    int32_t id;
    double weight;
  };

  void load(std::span<const float> logits);
  void keep_allowed(std::span<const uint64_t> allowed);
  void penalize(std::span<const int32_t> history);
  void measure_blocks();
  int32_t most_likely() const;
  void collect();
  void keep_top_k();
  void keep_typical();
  void keep_top_p();
  void keep_min_p();
  void keep_reaching(double target, bool count);
  void weigh(double temperature);
  double total_weight() const;
  int32_t draw();

  SamplingOptions options_;
  int vocabulary_;
  uint64_t step_ = 0;
  std::vector<float> logits_;          ///< after bias and penalties
  std::vector<float> block_maxima_;    ///< of each kBlock logits
  std::vector<uint32_t> counts_;       ///< how often each token was seen; zero between calls
  std::vector<Candidate> candidates_;  ///< by rising id
  std::vector<uint32_t> keys_;         ///< what a selection orders by
};

}  // namespace lamina::run

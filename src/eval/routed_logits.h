#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "eval/scoring.h"
#include "run/router.h"

namespace lamina::eval {

/// The logits of texts of which a router decides by which route each is computed: it reads what stands before the first
/// target, but for the last token.
class RoutedLogits : public LogitSource {
 public:
  /// All must outlive it; the runner has room for one sequence. Errors as run::RouterReader::create.
  static core::Result<std::unique_ptr<RoutedLogits>> create(run::Runner& runner, const run::Router& router,
                                                            std::span<const ScoredSequence> sequences);
  ~RoutedLogits() override;
  RoutedLogits(const RoutedLogits&) = delete;
  RoutedLogits& operator=(const RoutedLogits&) = delete;

  int64_t vocabulary() const override { return runner_.model().vocabulary(); }
  core::Result<std::span<const float>> step(std::span<const Slice> slices) override;
  /// Of the routes decided on so far, a mean over texts.
  double mean_visits() const { return texts_ > 0 ? visits_ / texts_ : 0; }

 private:
  RoutedLogits(run::Runner& runner, run::RouterReader reader, std::span<const ScoredSequence> sequences)
      : runner_(runner), reader_(std::move(reader)), sequences_(sequences) {}
  core::Status begin(const ScoredSequence& text);
  core::Status feed(std::span<const int32_t> tokens, const run::Route* route);
  core::Status add(const ScoredSequence& text, const Slice& slice, size_t& wanted);

  run::Runner& runner_;
  run::RouterReader reader_;
  std::span<const ScoredSequence> sequences_;
  std::optional<cache::SequenceId> open_;  ///< the text that is being computed
  run::Route route_;                       ///< of that text
  double visits_ = 0;
  double texts_ = 0;
  std::vector<float> logits_;
};

}  // namespace lamina::eval

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/clock.h"
#include "recipe/plan.h"
#include "run/drafter.h"

namespace lamina::run {

/// What came of guessing.
struct DraftCounts {
  int64_t drafted = 0;   ///< tokens guessed
  int64_t accepted = 0;  ///< that were right
  int64_t steps = 0;     ///< in which a text had a guess confirmed or refuted, counted once for each text
  int64_t plain = 0;     ///< the same without a guess
  double seconds = 0;    ///< spent on guessing

  /// Tokens written per text and step in which there was a guess: those that were right, and the one that follows them.
  double tokens_per_step() const {
    return steps > 0 ? 1 + static_cast<double>(accepted) / static_cast<double>(steps) : 0;
  }
  double acceptance() const { return drafted > 0 ? static_cast<double>(accepted) / static_cast<double>(drafted) : 0; }
};

/// Says whether guessing pays: whether a token costs less time with it than without, for as many texts at once. Both
/// are measured all along. While it does not pay it rests, for longer each time, and is tried again.
class DraftPace {
 public:
  explicit DraftPace(bool always) : always_(always) {}

  /// Whether to guess in the next step of so many texts that write.
  bool wants(int64_t texts);
  /// Tells what a step of nothing but that many writing texts took, guessing included, and how many tokens it gave;
  /// `guessed`: whether any text had a guess.
  void note(int64_t texts, bool guessed, double seconds, int64_t tokens);

 private:
  /// Moving means: seconds and tokens of a step.
  struct Mean {
    int64_t count = 0;
    double seconds = 0;
    double tokens = 0;
    void add(double new_seconds, double new_tokens);
    double per_token() const { return seconds / tokens; }
  };
  struct Figures {
    Mean plain;
    Mean guessed;
  };

  static constexpr int64_t kShortestRest = 16;

  bool always_;
  std::map<int64_t, Figures> figures_;  ///< by texts at once
  int64_t resting_ = 0;                 ///< plain steps that are still to come
  int64_t rest_ = kShortestRest;        ///< how many there are next time
  int64_t tried_ = 0;                   ///< guessed steps since the last rest
  int64_t since_plain_ = 0;
};

/// Guessing for the texts of one runner. A step then computes each text's last token and what is guessed to follow, and
/// gives a row of logits for each. The text draws its tokens from them one after the other, as ever, for as long as
/// the guess is what it has drawn: so nothing that it writes depends on the guesses, drawn at random or not.
/// Leviathan et al. 2023 (arXiv 2211.17192); the common random numbers take the place of rejection.
class Speculation {
 public:
  /// By the plan's source: kNgram or kRoute. kUnsupported: a route that the runner does not have.
  static core::Result<std::unique_ptr<Speculation>> create(const recipe::DraftPlan& plan, Runner& runner);
  Speculation(const recipe::DraftPlan& plan, std::unique_ptr<Drafter> drafter);

  /// The most tokens that are guessed at once.
  int64_t most() const { return plan_.tokens; }
  /// Guesses for the texts that write in the next step, or for none when that does not pay.
  core::Status guess(std::span<DraftText> texts);
  /// Tells for each of them how many tokens of its guess were right.
  void confirm(cache::SequenceId sequence, int64_t guessed, int64_t right);
  /// Tells what the step took, and how many tokens it gave to the texts of guess(); `alone`: it did nothing else.
  void finish_step(double seconds, int64_t tokens, bool alone);
  void forget(cache::SequenceId sequence);
  const DraftCounts& counts() const { return counts_; }

 private:
  recipe::DraftPlan plan_;
  std::unique_ptr<Drafter> drafter_;
  DraftPace pace_;
  DraftCounts counts_;
  std::map<int32_t, int64_t> wanted_;  ///< tokens to guess next, by sequence
  int64_t texts_ = 0;                  ///< of the step under way
  bool guessed_ = false;
  double guess_seconds_ = 0;
};

}  // namespace lamina::run

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "core/clock.h"
#include "run/runner.h"
#include "run/sampler.h"
#include "run/stop.h"
#include "serve/channel.h"
#include "text/token_grammar.h"
#include "text/tokenizer.h"

namespace lamina::serve {

/// One text to be continued.
struct GenerationJob {
  std::vector<int32_t> prompt;  ///< at least one token
  run::SamplingOptions sampling{};
  int64_t max_tokens = 0;  ///< together with the prompt at most the context
  std::vector<std::string> stops{};
  bool ignore_end = false;            ///< go on after an end token, which else counts as written and shows nothing
  bool continues_text = false;        ///< the answer is the rest of the prompt's text, not a text of its own
  std::optional<int> alternatives{};  ///< tell log probabilities, and so many of the most likely tokens beside them
  bool scores_prompt = false;         ///< tell them of the prompt too; needs `alternatives`
  std::vector<int32_t> shown{};       ///< control tokens that give their text; others give none
  std::shared_ptr<const text::TokenGrammar> grammar{};  ///< what the answer keeps to; null: nothing
  std::string tenant{};                       ///< keys and values are shared with texts of the same tenant alone
  std::string recipe{};                       ///< of the request's own; empty: what is served
  std::shared_ptr<const run::Route> route{};  ///< of that recipe
  std::string draft{};                        ///< how the request wants tokens guessed; empty: as the server does
  std::shared_ptr<const recipe::DraftPlan> draft_plan{};  ///< of that text
  std::string client{};                                   ///< who asks, for fair shares
  int priority = 0;                                       ///< lower numbers come first
  int part = 0;                                           ///< what events call it
  std::shared_ptr<Channel> channel{};
};

/// When things happened to a sequence, in seconds from its arrival.
struct SequenceTimes {
  double first_token = -1;
  double last_token = -1;
};

/// What a router has decided for a text.
struct RouteChoice {
  std::shared_ptr<const run::Route> route{};  ///< null: that which is served
  std::string recipe{};                       ///< of the route
};

/// A text on its way: tokens known, and what follows from each new one. Whatever is forgotten of its keys and values,
/// it goes on where it was.
class Sequence {
 public:
  /// kInvalid or kLimit: impossible sampling options or stop strings.
  static core::Result<std::unique_ptr<Sequence>> create(GenerationJob job, const text::Tokenizer& tokenizer,
                                                        int64_t vocabulary);

  const GenerationJob& job() const { return job_; }
  const std::vector<int32_t>& known() const { return known_; }
  bool cancelled() const { return job_.channel->cancelled(); }
  bool finished() const { return finish_ != run::FinishReason::kNone; }
  run::FinishReason finish() const { return finish_; }
  int64_t generated() const { return std::ssize(known_) - std::ssize(job_.prompt); }
  const SequenceTimes& times() const { return times_; }
  /// Whether the logits after position `position` are needed: to write the next token, or to score the prompt's.
  bool wants_logits(int64_t position) const;
  /// Takes the logits after that position, and tells what follows from them. The token that follows the last known one
  /// is drawn; finished() may be true afterwards.
  core::Status accept(int64_t position, std::span<const float> logits);
  /// How many tokens of the prompt another text had computed when it began; what is found when it begins anew after it
  /// was set back does not count.
  void note_cached(int64_t tokens) { cached_ = cached_ < 0 ? tokens : cached_; }
  /// Ends it: nothing more is told than this.
  void fail(core::Error error);
  /// Tells how it ended, which it keeps until then.
  void tell_end();
  /// For a job of no tokens, whose prompt is not scored either.
  void end_at_once();

  /// Draws its tokens; null before the first.
  run::Sampler* sampler() { return sampler_.get(); }

  std::optional<RouteChoice> choice{};  ///< once its prompt was read, where a router decides
  cache::SequenceId cache_id{};         ///< while it runs
  std::vector<int32_t> guess;           ///< of the tokens that follow those known
  uint64_t arrival = 0;                 ///< by rising number

 private:
  struct Pending {
    ScoredToken token;
    size_t begin = 0;  ///< where its text begins in the answer
  };

  Sequence(GenerationJob job, const text::Tokenizer& tokenizer) : job_(std::move(job)), tokenizer_(tokenizer) {}
  void score_prompt(int64_t position, std::span<const float> logits);
  core::Result<int32_t> draw(std::span<const float> logits);
  void write(int32_t token, std::span<const float> logits);
  void note(int32_t token, std::span<const float> logits);
  void release_tokens(Event& event, bool all);
  void end(run::FinishReason reason, Event& event);
  ScoredToken scored(int32_t token, std::span<const float> logits) const;

  GenerationJob job_;
  const text::Tokenizer& tokenizer_;
  std::vector<int32_t> known_;
  int vocabulary_ = 0;
  std::unique_ptr<run::Sampler> sampler_;        ///< from the first token on
  std::unique_ptr<text::TokenMatcher> matcher_;  ///< likewise, with a grammar
  run::StopMatcher stops_;
  std::unique_ptr<text::StreamDecoder> decoder_;
  std::vector<ScoredToken> prompt_scores_;  ///< not yet told
  int64_t prompt_scored_ = 1;               ///< tokens of the prompt; the first has nothing to be scored by
  std::vector<Pending> pending_;            ///< tokens whose text is not yet told
  size_t decoded_ = 0;                      ///< bytes that tokens have given
  int64_t cached_ = -1;                     ///< tokens; -1: it has not begun
  size_t told_ = 0;                         ///< bytes of them that were told
  run::FinishReason finish_ = run::FinishReason::kNone;
  std::optional<Event> end_;  ///< not yet told
  core::Stopwatch clock_;
  SequenceTimes times_;
};

}  // namespace lamina::serve

#include "run/speculation.h"

#include <algorithm>

namespace lamina::run {

using core::Result;
using core::Status;

namespace {

constexpr double kNewest = 0.2;         // weight of the newest step in a mean
constexpr int64_t kFirstPlain = 2;      // plain steps before the first guess
constexpr int64_t kTrial = 6;           // guessed steps before a judgement
constexpr int64_t kPlainEvery = 32;     // guessed steps from one plain step to the next
constexpr int64_t kLongestRest = 1024;  // plain steps

}  // namespace

void DraftPace::Mean::add(double new_seconds, double new_tokens) {
  const double share = count == 0 ? 1 : kNewest;
  seconds += share * (new_seconds - seconds);
  tokens += share * (new_tokens - tokens);
  ++count;
}

bool DraftPace::wants(int64_t texts) {
  if (always_) return true;
  const Figures& figures = figures_[texts];
  return resting_ == 0 && figures.plain.count >= kFirstPlain && since_plain_ < kPlainEvery;
}

void DraftPace::note(int64_t texts, bool guessed, double seconds, int64_t tokens) {
  Figures& figures = figures_[texts];
  if (!guessed) {
    figures.plain.add(seconds, static_cast<double>(tokens));
    since_plain_ = 0;
    resting_ -= resting_ > 0 ? 1 : 0;
    return;
  }
  figures.guessed.add(seconds, static_cast<double>(tokens));
  ++since_plain_;
  if (++tried_ < kTrial || figures.plain.count == 0) return;
  if (figures.guessed.per_token() <= figures.plain.per_token()) {
    rest_ = kShortestRest;
    return;
  }
  resting_ = rest_;
  rest_ = std::min(2 * rest_, kLongestRest);
  tried_ = 0;
  figures.guessed = {};
}

Result<std::unique_ptr<Speculation>> Speculation::create(const recipe::DraftPlan& plan, Runner& runner) {
  if (plan.source == recipe::DraftPlan::Source::kNgram)
    return std::make_unique<Speculation>(plan, make_ngram_drafter(plan.match));
  LAMINA_ASSIGN(Route route, runner.plan_route(plan.route));
  return std::make_unique<Speculation>(plan, make_route_drafter(runner, std::move(route), plan.confidence));
}

Speculation::Speculation(const recipe::DraftPlan& plan, std::unique_ptr<Drafter> drafter)
    : plan_(plan), drafter_(std::move(drafter)), pace_(plan.always) {}

Status Speculation::guess(std::span<DraftText> texts) {
  texts_ = std::ssize(texts);
  guessed_ = false;
  guess_seconds_ = 0;
  if (texts.empty() || !pace_.wants(texts_)) return {};
  for (DraftText& text : texts) {
    const auto wanted = wanted_.find(text.sequence.index);
    text.most = std::min(text.most, wanted == wanted_.end() ? most() : wanted->second);
  }
  const core::Stopwatch watch;
  const Status status = drafter_->guess(texts);
  guess_seconds_ = watch.seconds();
  counts_.seconds += guess_seconds_;
  guessed_ = std::ranges::any_of(texts, [](const DraftText& text) { return !text.guess->empty(); });
  return status;
}

/// Where all was right the next guess may be twice as long; else it is as long as what was right, and one more.
void Speculation::confirm(cache::SequenceId sequence, int64_t guessed, int64_t right) {
  if (guessed == 0) {
    ++counts_.plain;
    return;
  }
  ++counts_.steps;
  counts_.drafted += guessed;
  counts_.accepted += right;
  wanted_[sequence.index] = std::min(most(), right == guessed ? 2 * guessed : right + 1);
}

void Speculation::finish_step(double seconds, int64_t tokens, bool alone) {
  if (alone && texts_ > 0) pace_.note(texts_, guessed_, seconds + guess_seconds_, tokens);
}

void Speculation::forget(cache::SequenceId sequence) {
  wanted_.erase(sequence.index);
  drafter_->forget(sequence);
}

}  // namespace lamina::run

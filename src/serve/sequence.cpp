#include "serve/sequence.h"

#include <utility>

namespace lamina::serve {

using core::Result;
using core::Status;
using run::FinishReason;

Result<std::unique_ptr<Sequence>> Sequence::create(GenerationJob job, const text::Tokenizer& tokenizer,
                                                   int64_t vocabulary) {
  LAMINA_CHECK_OK(run::check(job.sampling, static_cast<int>(vocabulary)));
  std::unique_ptr<Sequence> sequence(new Sequence(std::move(job), tokenizer));
  const GenerationJob& own = sequence->job_;
  LAMINA_ASSIGN(sequence->stops_, run::StopMatcher::create(own.stops));
  sequence->vocabulary_ = static_cast<int>(vocabulary);
  sequence->decoder_ = std::make_unique<text::StreamDecoder>(tokenizer);
  sequence->decoder_->show(own.shown);
  sequence->known_ = own.prompt;
  if (own.continues_text) {
    // So that the first piece is what follows a text, not what begins one.
    for (const int32_t token : own.prompt) sequence->decoder_->push(token);
  }
  if (own.scores_prompt) sequence->prompt_scores_.push_back({.id = own.prompt.front(), .log_probability = {}});
  return sequence;
}

bool Sequence::wants_logits(int64_t position) const {
  const int64_t next = position + 1;
  if (next >= std::ssize(known_)) return true;  // what follows a guess too
  return job_.scores_prompt && next < std::ssize(job_.prompt) && next >= prompt_scored_;
}

Status Sequence::accept(int64_t position, std::span<const float> logits) {
  const int64_t next = position + 1;
  if (next < std::ssize(known_)) {
    score_prompt(next, logits);
    return {};
  }
  if (job_.max_tokens == 0) {
    end_at_once();
    return {};
  }
  LAMINA_ASSIGN(const int32_t token, draw(logits));
  write(token, logits);
  return {};
}

core::Result<int32_t> Sequence::draw(std::span<const float> logits) {
  // A sampler takes memory by the vocabulary: those who wait have none.
  if (!sampler_) sampler_ = std::make_unique<run::Sampler>(job_.sampling, vocabulary_);
  if (!job_.grammar) return sampler_->sample(logits, known_);
  if (!matcher_) matcher_ = std::make_unique<text::TokenMatcher>(job_.grammar, !job_.continues_text, !job_.ignore_end);
  LAMINA_ASSIGN(const std::span<const uint64_t> allowed, matcher_->allowed());
  LAMINA_ASSIGN(const int32_t token, sampler_->sample(logits, known_, allowed));
  if (!matcher_->accept(token))
    return core::fail(core::ErrorCode::kInvalid, "grammar", "token {} was drawn and is not allowed", token);
  return token;
}

void Sequence::score_prompt(int64_t position, std::span<const float> logits) {
  if (position != prompt_scored_) return;
  ++prompt_scored_;
  prompt_scores_.push_back(scored(job_.prompt[static_cast<size_t>(position)], logits));
}

ScoredToken Sequence::scored(int32_t token, std::span<const float> logits) const {
  const int32_t ids[1] = {token};
  double values[1];
  run::log_probabilities(logits, ids, values);
  return {.id = token,
          .log_probability = values[0],
          .top = run::top_log_probabilities(logits, job_.alternatives.value_or(0))};
}

void Sequence::write(int32_t token, std::span<const float> logits) {
  times_.last_token = clock_.seconds();
  if (times_.first_token < 0) times_.first_token = times_.last_token;
  Event event{.part = job_.part};
  note(token, logits);
  if (tokenizer_.is_end(token) && !job_.ignore_end) {
    end(FinishReason::kStop, event);
  } else {
    const std::string piece = decoder_->push(token);
    decoded_ += piece.size();
    run::StopMatcher::Output output = stops_.push(piece);
    told_ += output.text.size();
    event.text = std::move(output.text);
    if (output.stopped || (matcher_ && matcher_->finished())) {
      end(FinishReason::kStop, event);
    } else if (generated() == job_.max_tokens) {
      end(FinishReason::kLength, event);
    } else {
      release_tokens(event, false);
    }
  }
  event.completion_tokens = generated();
  event.cached_tokens = std::max<int64_t>(cached_, 0);
  if (!prompt_scores_.empty()) event.prompt = std::exchange(prompt_scores_, {});
  if (event.last) {
    end_ = std::move(event);
  } else if (!event.text.empty() || !event.tokens.empty() || !event.prompt.empty()) {
    job_.channel->push(std::move(event));
  }
}

/// Counts the token as written, and keeps what is to be told of it.
void Sequence::note(int32_t token, std::span<const float> logits) {
  known_.push_back(token);
  if (job_.alternatives) pending_.push_back({.token = scored(token, logits), .begin = decoded_});
}

/// Tokens are told once their text begins to be; those that a stop string cut off never are.
void Sequence::release_tokens(Event& event, bool all) {
  size_t count = 0;
  while (count < pending_.size() && (all || pending_[count].begin < told_)) ++count;
  for (size_t i = 0; i < count; ++i) event.tokens.push_back(std::move(pending_[i].token));
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(count));
}

void Sequence::end(FinishReason reason, Event& event) {
  finish_ = reason;
  if (stops_.matched() < 0) {
    const std::string rest = decoder_->finish();
    const run::StopMatcher::Output output = stops_.push(rest);
    event.text += output.text;
    if (!output.stopped) event.text += stops_.finish();
    told_ += output.text.size();
  }
  release_tokens(event, stops_.matched() < 0);
  if (!prompt_scores_.empty()) event.prompt = std::exchange(prompt_scores_, {});
  event.finish = reason;
  event.stop = stops_.matched();
  event.completion_tokens = generated();
  event.cached_tokens = std::max<int64_t>(cached_, 0);
  event.last = true;
}

void Sequence::fail(core::Error error) {
  finish_ = FinishReason::kCancelled;
  end_ = {.part = job_.part, .finish = finish_, .error = std::move(error), .last = true};
}

void Sequence::end_at_once() {
  Event event{.part = job_.part};
  end(FinishReason::kLength, event);
  end_ = std::move(event);
}

void Sequence::tell_end() {
  if (end_) job_.channel->push(*std::exchange(end_, {}));
}

}  // namespace lamina::serve

#include "run/engine.h"

#include <algorithm>
#include <tuple>

namespace lamina::run {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kNone:
      break;
  }
  return "none";
}

Engine::Engine(Runner& runner, const text::Tokenizer* tokenizer, Speculation* speculation)
    : runner_(runner), tokenizer_(tokenizer), speculation_(speculation) {
  const RunnerOptions& options = runner.options();
  rows_.reserve(static_cast<size_t>(options.max_rows));
  sampling_.reserve(static_cast<size_t>(options.sequences));
  texts_.reserve(static_cast<size_t>(options.sequences));
  const int64_t each = speculation == nullptr ? 1 : 1 + speculation->most();
  const int64_t most = std::max<int64_t>(options.sequences, std::min(options.sequences * each, options.max_rows));
  logits_.resize(static_cast<size_t>(most) * static_cast<size_t>(runner.model().vocabulary()));
}

Status Engine::set_router(const Router& router) {
  if (speculation_ != nullptr)
    return fail(ErrorCode::kUnsupported, "router", "a draft guesses for one route; either without the other expected");
  LAMINA_ASSIGN(reader_, RouterReader::create(router, runner_));
  return {};
}

Result<size_t> Engine::submit(GenerationRequest request, cache::SequenceId sequence) {
  const int64_t context = runner_.options().context;
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) return fail(ErrorCode::kInvalid, "prompt", "it is empty; at least one token expected");
  if (length > context)
    return fail(ErrorCode::kLimit, "prompt", "{} tokens do not fit into the context of {}; raise --ctx or shorten it",
                length, context);
  LAMINA_CHECK_OK(check_source(request, sequence));
  if (reader_ && sequence != cache::SequenceId{} && runner_.length(sequence) > 0) {
    return fail(ErrorCode::kUnsupported, "router",
                "the sequence has {} tokens that it has not read; one without any expected", runner_.length(sequence));
  }
  const auto vocabulary = static_cast<int>(runner_.model().vocabulary());
  LAMINA_CHECK_OK(check(request.sampling, vocabulary));
  auto active = std::make_unique<Active>();
  LAMINA_ASSIGN(active->stops, StopMatcher::create(request.stops));
  if (tokenizer_ != nullptr) active->decoder = std::make_unique<text::StreamDecoder>(*tokenizer_);
  if (tokenizer_ == nullptr && !request.stops.empty())
    return fail(ErrorCode::kInvalid, "stop", "stop strings need a tokenizer");
  active->owns_sequence = sequence == cache::SequenceId{};
  if (active->owns_sequence) {
    LAMINA_ASSIGN(active->sequence, runner_.open());
  } else {
    active->sequence = sequence;
    // The last token of the prompt is computed again for its logits; what remains may be less than asked for.
    if (runner_.length(sequence) >= length) std::ignore = runner_.truncate(sequence, length - 1);
  }
  active->sampler = std::make_unique<Sampler>(request.sampling, vocabulary);
  if (request.grammar)
    active->matcher = std::make_unique<text::TokenMatcher>(request.grammar, true, !request.ignore_end);
  if (reader_ && length > 1) {
    active->reads = true;
    reader_->begin(active->sequence, length - 1);
  }
  active->known = request.prompt;
  active->known.reserve(static_cast<size_t>(context) + 1);
  active->generation.tokens.reserve(static_cast<size_t>(context));
  active->request = std::move(request);
  if (active->request.max_tokens == 0) end(*active, FinishReason::kLength);
  active_.push_back(std::move(active));
  return active_.size() - 1;
}

Status Engine::check_source(const GenerationRequest& request, cache::SequenceId sequence) const {
  const bool known = sequence != cache::SequenceId{};
  const Runner* encoder = runner_.encoder();
  if (encoder == nullptr) {
    if (request.source.empty()) return {};
    return fail(ErrorCode::kInvalid, "source", "the model has no encoder to read it; a prompt alone expected");
  }
  if (request.source.empty()) {
    if (known && runner_.encoded_length(sequence) > 0) return {};
    return fail(ErrorCode::kInvalid, "source", "it is empty; the encoder needs at least one token to read");
  }
  if (known && runner_.length(sequence) > 0) {
    return fail(ErrorCode::kInvalid, "source", "the sequence has {} tokens; one without any expected",
                runner_.length(sequence));
  }
  if (const int64_t context = encoder->options().context; std::ssize(request.source) > context) {
    return fail(ErrorCode::kLimit, "source", "{} tokens do not fit into the encoder's context of {}; shorten it",
                request.source.size(), context);
  }
  return {};
}

/// Lets the encoder read the sources that wait, as many as fit into its step.
Status Engine::encode_sources() {
  if (runner_.encoder() == nullptr) return {};
  const auto room = static_cast<size_t>(runner_.encoder()->options().max_rows);
  std::vector<BatchRow> rows;
  std::vector<Active*> read;
  for (const auto& active : active_) {
    const std::vector<int32_t>& source = active->request.source;
    if (active->generation.finish != FinishReason::kNone || source.empty()) continue;
    if (rows.size() + source.size() > room) break;
    for (const int32_t token : source) rows.push_back({.token = token, .sequence = active->sequence});
    read.push_back(active.get());
  }
  if (rows.empty()) return {};
  LAMINA_CHECK_OK(runner_.encode(rows));
  for (Active* active : read) active->request.source.clear();
  return {};
}

void Engine::add_rows(Active& active, size_t index, int64_t budget) {
  const int64_t computed = runner_.length(active.sequence);
  const auto known = static_cast<int64_t>(active.known.size());
  // The token whose logits draw the first one is not read for the router, but computed by what it decides.
  const int64_t count = std::min(known + std::ssize(active.guess) - (active.reads ? 1 : 0) - computed, budget);
  for (int64_t i = computed; i < computed + count; ++i) {
    const int32_t token =
        i < known ? active.known[static_cast<size_t>(i)] : active.guess[static_cast<size_t>(i - known)];
    rows_.push_back({.token = token, .sequence = active.sequence, .wants_logits = i + 1 >= known});
  }
  const int64_t wanted = computed + count - known + 1;
  if (count > 0 && wanted > 0) sampling_.push_back({.request = index, .rows = static_cast<size_t>(wanted)});
}

/// Guesses for those that lack one token, as far as they may be written and all fit into a step.
Status Engine::guess() {
  if (speculation_ == nullptr) return {};
  texts_.clear();
  const RunnerOptions& options = runner_.options();
  for (const auto& active : active_) {
    active->guess.clear();
    const auto known = std::ssize(active->known);
    const bool writes = active->sampled && active->generation.finish == FinishReason::kNone &&
                        known - runner_.length(active->sequence) == 1;
    if (!writes) continue;
    const int64_t left = active->request.max_tokens < 0
                             ? options.context
                             : active->request.max_tokens - std::ssize(active->generation.tokens);
    // The last token that may be written needs no guess, and is not computed.
    texts_.push_back({.sequence = active->sequence,
                      .known = active->known,
                      .most = std::max<int64_t>(0, std::min(left - 1, options.context - known)),
                      .sampler = active->sampler.get(),
                      .guess = &active->guess});
  }
  for (DraftText& text : texts_) text.most = std::min(text.most, options.max_rows / std::ssize(texts_) - 1);
  return speculation_->guess(texts_);
}

/// Sequences that lack one token come first, so that a long prompt does not hold them up by more than one step.
void Engine::fill_batch(const Route* route, bool reads) {
  rows_.clear();
  sampling_.clear();
  for (const bool short_ones : {true, false}) {
    for (size_t i = 0; i < active_.size(); ++i) {
      Active& active = *active_[i];
      const int64_t budget = runner_.options().max_rows - static_cast<int64_t>(rows_.size());
      const bool waits = !active.request.source.empty() || active.route != route || active.reads != reads;
      if (active.generation.finish != FinishReason::kNone || waits || budget <= 0) continue;
      const bool lacks_one = static_cast<int64_t>(active.known.size()) - runner_.length(active.sequence) == 1;
      if (lacks_one == short_ones) add_rows(active, i, budget);
    }
  }
}

Result<bool> Engine::step() {
  LAMINA_CHECK_OK(encode_sources());
  LAMINA_CHECK_OK(guess());
  return reader_ ? step_routed() : step_route(nullptr, false);
}

/// A pass for the prompts that the router reads, and one for each route that it has decided on.
Result<bool> Engine::step_routed() {
  runner_.set_hook(&*reader_);
  auto worked = step_route(nullptr, true);
  runner_.set_hook(nullptr);
  if (!worked) return worked;
  LAMINA_CHECK_OK(decide_routes());
  LAMINA_ASSIGN(const bool short_ones, step_route(nullptr, false));  // prompts of one token
  worked = *worked || short_ones;
  for (const auto& route : decided_) {
    LAMINA_ASSIGN(const bool more, step_route(route.get(), false));
    worked = *worked || more;
  }
  return worked;
}

/// One pass for the requests of that route, or for those whose prompts the router reads.
Result<bool> Engine::step_route(const Route* route, bool reads) {
  fill_batch(route, reads);
  if (rows_.empty()) return false;
  const core::Stopwatch watch;
  LAMINA_CHECK_OK(runner_.step(rows_, logits_, route));
  LAMINA_CHECK_OK(confirm_all(watch.seconds()));
  return true;
}

/// Gives those whose prompt was read their route.
Status Engine::decide_routes() {
  for (const auto& active : active_) {
    const bool ended = active->generation.finish != FinishReason::kNone;
    if (!active->reads || ended || runner_.length(active->sequence) + 1 < std::ssize(active->known)) continue;
    active->reads = false;
    LAMINA_ASSIGN(Route route, reader_->decide(runner_, active->sequence));
    // What a layer has read at its first visit is not what it reads at a second one.
    if (reader_->router().kind == Router::Kind::kRepeat && route.visits != runner_.options().plan.route)
      std::ignore = runner_.truncate(active->sequence, 0);
    active->generation.route = route.visits;
    auto known = std::ranges::find_if(decided_, [&](const auto& one) { return one->visits == route.visits; });
    if (known == decided_.end()) known = decided_.insert(known, std::make_unique<Route>(std::move(route)));
    active->route = known->get();
  }
  return {};
}

Status Engine::confirm_all(double seconds) {
  const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
  int64_t tokens = 0;
  size_t row = 0;
  size_t writing_rows = 0;
  for (const Turn& turn : sampling_) {
    Active& active = *active_[turn.request];
    const bool wrote = active.sampled;
    const auto before = std::ssize(active.generation.tokens);
    LAMINA_CHECK_OK(confirm(active, std::span(logits_).subspan(row * vocabulary, turn.rows * vocabulary)));
    row += turn.rows;
    if (!wrote) continue;
    tokens += std::ssize(active.generation.tokens) - before;
    writing_rows += turn.rows;
  }
  if (speculation_ != nullptr) speculation_->finish_step(seconds, tokens, writing_rows == rows_.size());
  return {};
}

/// Draws from one row of logits after the other, for as long as the tokens are those guessed; what was computed of the
/// others is forgotten.
Status Engine::confirm(Active& active, std::span<const float> logits) {
  const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
  const auto rows = std::ssize(logits) / static_cast<int64_t>(vocabulary);
  const bool wrote = active.sampled;
  int64_t used = 0;
  int64_t right = 0;
  for (bool agrees = true; agrees && active.generation.finish == FinishReason::kNone; ++used) {
    const size_t before = active.known.size();
    LAMINA_CHECK_OK(accept(active, logits.subspan(static_cast<size_t>(used) * vocabulary, vocabulary)));
    agrees = used + 1 < rows && active.known.size() > before &&
             active.known.back() == active.guess[static_cast<size_t>(used)];
    right += agrees ? 1 : 0;
  }
  const bool open = active.generation.finish == FinishReason::kNone || !active.owns_sequence;
  if (open && used < rows)
    std::ignore = runner_.truncate(active.sequence, runner_.length(active.sequence) - (rows - used));
  if (speculation_ == nullptr) return {};
  if (wrote) speculation_->confirm(active.sequence, rows - 1, right);
  if (!open) speculation_->forget(active.sequence);
  return {};
}

Status Engine::accept(Active& active, std::span<const float> logits) {
  std::span<const uint64_t> allowed;
  if (active.matcher) {
    LAMINA_ASSIGN(allowed, active.matcher->allowed());
  }
  LAMINA_ASSIGN(const int32_t token, active.sampler->sample(logits, active.known, allowed));
  Generation& generation = active.generation;
  (active.sampled ? generation.decode_seconds : generation.prompt_seconds) += active.clock.seconds();
  active.clock.restart();
  active.sampled = true;
  if (active.matcher && !active.matcher->accept(token))
    return fail(ErrorCode::kInvalid, "grammar", "token {} was drawn and is not allowed", token);
  if (tokenizer_ != nullptr && tokenizer_->is_end(token) && !active.request.ignore_end) {
    end(active, FinishReason::kStop);
  } else {
    take(active, token);
  }
  return {};
}

void Engine::take(Active& active, int32_t token) {
  Generation& generation = active.generation;
  generation.tokens.push_back(token);
  active.known.push_back(token);
  if (active.decoder) emit(active, active.decoder->push(token));
  const auto generated = static_cast<int64_t>(generation.tokens.size());
  const bool full = static_cast<int64_t>(active.known.size()) > runner_.options().context;
  if (generation.finish != FinishReason::kNone) return;
  if (active.matcher && active.matcher->finished()) {
    end(active, FinishReason::kStop);
  } else if (generated == active.request.max_tokens || full) {
    end(active, FinishReason::kLength);
  }
}

void Engine::emit(Active& active, const std::string& text) {
  const StopMatcher::Output output = active.stops.push(text);
  active.generation.text += output.text;
  const bool go_on = output.text.empty() || !active.request.sink || active.request.sink(output.text);
  if (output.stopped) {
    end(active, FinishReason::kStop);
  } else if (!go_on) {
    end(active, FinishReason::kCancelled);
  }
}

void Engine::end(Active& active, FinishReason reason) {
  active.generation.finish = reason;
  if (active.decoder && active.stops.matched() < 0 && reason != FinishReason::kCancelled) {
    const StopMatcher::Output last = active.stops.push(active.decoder->finish());
    const std::string rest = last.text + (last.stopped ? std::string() : active.stops.finish());
    active.generation.text += rest;
    if (!rest.empty() && active.request.sink) active.request.sink(rest);
  }
  if (active.owns_sequence) runner_.close(active.sequence);
}

Status Engine::finish() {
  while (true) {
    LAMINA_ASSIGN(const bool more, step());
    if (!more) return {};
  }
}

}  // namespace lamina::run

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <unordered_map>

#include "kernels/softmax.h"
#include "run/drafter.h"

namespace lamina::run {

namespace {

using core::Result;
using core::Status;

/// A text as a runner goes on with it.
struct Writer {
  DraftText* text = nullptr;
  cache::SequenceId sequence{};
  std::vector<int32_t> feed;  ///< tokens to compute before the next guess
  bool done = false;
};

/// Lets a runner, over a route of its own or another, write on from texts: all of them side by side, a token each step.
class Guesser {
 public:
  /// `vocabulary`: of the runner that confirms; tokens beyond it are no guesses.
  Guesser(Runner& runner, const Route* route, int64_t vocabulary, double confidence)
      : runner_(runner), route_(route), confidence_(confidence), padded_(static_cast<size_t>(vocabulary)) {}

  Status write(std::span<Writer> writers) {
    while (true) {
      fill_batch(writers);
      if (rows_.empty()) return {};
      const Status status = runner_.step(rows_, logits_, route_);
      // No room for more: what there is must do.
      if (!status && status.error().code == core::ErrorCode::kLimit) return {};
      LAMINA_CHECK_OK(status);
      const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
      for (size_t i = 0; i < asking_.size(); ++i)
        take(*asking_[i], std::span(logits_).subspan(i * vocabulary, vocabulary));
    }
  }

 private:
  /// As much as fits of what the texts lack; those whose feed is computed with it ask for logits.
  void fill_batch(std::span<Writer> writers) {
    rows_.clear();
    asking_.clear();
    int64_t left = runner_.options().max_rows;
    for (Writer& writer : writers) {
      if (writer.done || left == 0) continue;
      const int64_t room = runner_.options().context - runner_.length(writer.sequence);
      const int64_t count = std::min(std::ssize(writer.feed), left);
      writer.done = room < count || !known_here(std::span(writer.feed).first(static_cast<size_t>(count)));
      if (writer.done) continue;
      const bool asks = count == std::ssize(writer.feed);
      for (int64_t i = 0; i < count; ++i)
        rows_.push_back({.token = writer.feed[static_cast<size_t>(i)],
                         .sequence = writer.sequence,
                         .wants_logits = asks && i + 1 == count});
      writer.feed.erase(writer.feed.begin(), writer.feed.begin() + count);
      if (asks) asking_.push_back(&writer);
      left -= count;
    }
    const size_t wanted = asking_.size() * static_cast<size_t>(runner_.model().vocabulary());
    if (logits_.size() < wanted) logits_.resize(wanted);
  }

  bool known_here(std::span<const int32_t> tokens) const {
    return std::ranges::all_of(tokens, [&](int32_t token) { return token < runner_.model().vocabulary(); });
  }

  void take(Writer& writer, std::span<const float> logits) {
    const DraftText& text = *writer.text;
    const auto size = std::ssize(logits);
    const float highest = logits[static_cast<size_t>(kernels::argmax(logits.data(), size))];
    const bool sure =
        confidence_ == 0 || std::exp(double{highest} - kernels::log_sum_exp(logits.data(), size)) >= confidence_;
    const int32_t token = sure ? choose(text, logits) : -1;
    writer.done = token < 0;
    if (writer.done) return;
    text.guess->push_back(token);
    writer.feed.push_back(token);
    writer.done = std::ssize(*text.guess) >= text.most;
  }

  /// The token that the text's own sampler would draw from these logits, with the random number of that token; -1: none
  /// that the other model has.
  int32_t choose(const DraftText& text, std::span<const float> logits) {
    const size_t size = std::min(logits.size(), padded_.size());
    std::copy_n(logits.begin(), size, padded_.begin());
    std::fill(padded_.begin() + static_cast<ptrdiff_t>(size), padded_.end(), -std::numeric_limits<float>::infinity());
    if (text.sampler == nullptr) {
      return static_cast<int32_t>(kernels::argmax(padded_.data(), std::ssize(padded_)));
    }
    history_.assign(text.known.begin(), text.known.end());
    history_.insert(history_.end(), text.guess->begin(), text.guess->end());
    const uint64_t step = text.sampler->step();
    text.sampler->set_step(step + text.guess->size());
    const Result<int32_t> token = text.sampler->sample(padded_, history_);
    text.sampler->set_step(step);
    return token.value_or(-1);
  }

  Runner& runner_;
  const Route* route_;
  double confidence_;
  std::vector<float> padded_;  ///< logits, of as many tokens as the other model has
  std::vector<BatchRow> rows_;
  std::vector<Writer*> asking_;
  std::vector<float> logits_;
  std::vector<int32_t> history_;
};

class RouteDrafter : public Drafter {
 public:
  RouteDrafter(Runner& runner, Route route, double confidence)
      : runner_(runner), route_(std::move(route)), guesser_(runner, &route_, runner.model().vocabulary(), confidence) {}

  Status guess(std::span<DraftText> texts) override {
    writers_.clear();
    lengths_.clear();
    for (DraftText& text : texts) {
      writers_.push_back(
          {.text = &text, .sequence = text.sequence, .feed = {text.known.back()}, .done = text.most < 1});
      lengths_.push_back(runner_.length(text.sequence));
    }
    Status status = guesser_.write(writers_);
    // What the draft has computed is not what the whole route would.
    for (size_t i = 0; i < texts.size(); ++i) std::ignore = runner_.truncate(texts[i].sequence, lengths_[i]);
    return status;
  }

 private:
  Runner& runner_;
  Route route_;
  Guesser guesser_;
  std::vector<Writer> writers_;
  std::vector<int64_t> lengths_;
};

class ModelDrafter : public Drafter {
 public:
  ModelDrafter(std::unique_ptr<models::Model> model, std::unique_ptr<Runner> runner, int64_t vocabulary,
               double confidence)
      : model_(std::move(model)), runner_(std::move(runner)), guesser_(*runner_, nullptr, vocabulary, confidence) {}

  Status guess(std::span<DraftText> texts) override {
    writers_.clear();
    for (DraftText& text : texts) {
      LAMINA_ASSIGN(Writer writer, open(text));
      writers_.push_back(std::move(writer));
    }
    const Status status = guesser_.write(writers_);
    for (const Writer& writer : writers_) {
      // All that it was fed, and of its guesses all but the last, unless it stopped before.
      std::vector<int32_t>& read = texts_.at(writer.text->sequence.index).read;
      read.assign(writer.text->known.begin(), writer.text->known.end());
      read.insert(read.end(), writer.text->guess->begin(), writer.text->guess->end());
      read.resize(static_cast<size_t>(runner_->length(writer.sequence)));
    }
    return status;
  }

  void forget(cache::SequenceId sequence) override {
    const auto found = texts_.find(sequence.index);
    if (found == texts_.end()) return;
    runner_->close(found->second.sequence);
    texts_.erase(found);
  }

 private:
  /// What the draft's own cache holds of a text.
  struct Text {
    cache::SequenceId sequence{};
    std::vector<int32_t> read;
  };

  Result<Writer> open(DraftText& text) {
    if (!texts_.contains(text.sequence.index)) {
      LAMINA_ASSIGN(const cache::SequenceId sequence, runner_->open());
      texts_[text.sequence.index] = {.sequence = sequence, .read = {}};
    }
    const Text& own = texts_[text.sequence.index];
    const auto known = text.known;
    const size_t most = std::min(known.size() - 1, own.read.size());  // the last is computed for its logits
    const auto same = std::mismatch(known.begin(), known.begin() + static_cast<ptrdiff_t>(most), own.read.begin());
    const int64_t length = runner_->truncate(own.sequence, same.first - known.begin());
    return Writer{
        .text = &text, .sequence = own.sequence, .feed = {known.begin() + length, known.end()}, .done = text.most < 1};
  }

  std::unique_ptr<models::Model> model_;
  std::unique_ptr<Runner> runner_;
  Guesser guesser_;
  std::unordered_map<int32_t, Text> texts_;  ///< by the sequence in the runner that confirms
  std::vector<Writer> writers_;
};

}  // namespace

std::unique_ptr<Drafter> make_route_drafter(Runner& runner, Route route, double confidence) {
  return std::make_unique<RouteDrafter>(runner, std::move(route), confidence);
}

std::unique_ptr<Drafter> make_model_drafter(std::unique_ptr<models::Model> model, std::unique_ptr<Runner> runner,
                                            int64_t vocabulary, double confidence) {
  return std::make_unique<ModelDrafter>(std::move(model), std::move(runner), vocabulary, confidence);
}

}  // namespace lamina::run

#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/result.h"
#include "run/runner.h"
#include "run/sampler.h"

namespace lamina::run {

/// A text whose next tokens are to be guessed.
struct DraftText {
  cache::SequenceId sequence{};      ///< in the runner that will confirm; it has computed all tokens but the last
  std::span<const int32_t> known{};  ///< tokens, at least one
  int64_t most = 0;                  ///< tokens to guess at most
  Sampler* sampler = nullptr;        ///< draws the text's tokens; it is left as it was. null: the likeliest are guessed
  std::vector<int32_t>* guess = nullptr;  ///< the tokens go here; empty before
};

/// Guesses tokens. What it guesses changes how fast a text is written, never what is written.
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Guesses for all of the texts, none or fewer tokens where it knows no more. Errors are those of a runner's step,
  /// but for kLimit, which only ends a guess.
  virtual core::Status guess(std::span<DraftText> texts) = 0;
  /// That sequence is no more.
  virtual void forget(cache::SequenceId /*sequence*/) {}
};

/// Guesses that a text goes on as it did where the longest piece that it ends with, of `match` tokens at least, stood
/// last. Saxena 2023, Prompt Lookup Decoding.
std::unique_ptr<Drafter> make_ngram_drafter(int match);

/// Guesses with a part of the runner's own route, over its cache: the drafted positions' keys and values are forgotten
/// again, and those of the others are what the whole route has made. Guessing stops where the likeliest token has less
/// than `confidence`. Zhang et al. 2023, Draft & Verify (arXiv 2309.08168).
std::unique_ptr<Drafter> make_route_drafter(Runner& runner, Route route, double confidence);

/// Guesses with another model, which must have the same tokens, over a cache of its own. `runner` has as many sequences
/// as the one that confirms, whose vocabulary is that large.
std::unique_ptr<Drafter> make_model_drafter(std::unique_ptr<models::Model> model, std::unique_ptr<Runner> runner,
                                            int64_t vocabulary, double confidence);

}  // namespace lamina::run

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "run/router.h"
#include "run/runner.h"
#include "run/sampler.h"
#include "run/speculation.h"
#include "run/stop.h"
#include "text/token_grammar.h"
#include "text/tokenizer.h"

namespace lamina::run {

enum class FinishReason { kNone, kStop, kLength, kCancelled };
std::string_view finish_reason_name(FinishReason reason);

/// Given each piece of text when it is safe to show; returning false cancels.
using TextSink = std::function<bool(std::string_view text)>;

struct GenerationRequest {
  std::vector<int32_t> prompt;  ///< at least one token; an encoder-decoder's begins with Model::start_token
  /// What an encoder reads first; empty for models without one, and for a sequence that has encoded it already.
  std::vector<int32_t> source{};
  SamplingOptions sampling;
  int64_t max_tokens = -1;  ///< -1: until the context is full
  std::vector<std::string> stops;
  bool ignore_end = false;                              ///< go on after an end token
  std::shared_ptr<const text::TokenGrammar> grammar{};  ///< what the text keeps to; null: nothing
  TextSink sink;                                        ///< may be empty
};

struct Generation {
  std::vector<int32_t> tokens;  ///< generated, the end token left out
  std::string text;
  FinishReason finish = FinishReason::kNone;
  std::vector<recipe::Visit> route{};  ///< that a router has decided on; empty: none has
  double prompt_seconds = 0;           ///< from submission to the first token
  double decode_seconds = 0;           ///< from the first token to the last
};

/// Generates for many sequences at once. There is no prefill and no decode phase: each sequence has tokens known and
/// tokens computed, and every step lets each catch up, those that lack one token first. With speculation, tokens that
/// are guessed follow those that are known, and are known once they are drawn. Of an encoder-decoder, each source is
/// encoded in the step that finds it, before any of its tokens.
class Engine {
 public:
  /// `runner` must outlive the engine, and so must `speculation`, which may be null; `tokenizer` may be null, then no
  /// text is made and stop strings are refused.
  Engine(Runner& runner, const text::Tokenizer* tokenizer, Speculation* speculation = nullptr);

  /// From now on `router`, which must outlive the engine, decides by which route each text is written, once all layers
  /// have read its prompt but for the last token. kUnsupported: with speculation, or where it does not fit
  /// (RouterReader::create).
  core::Status set_router(const Router& router);
  /// Takes a request; its index is used below. kLimit: the prompt does not fit; kInvalid: impossible options.
  /// Reuses `sequence` (whose tokens must be the beginning of the prompt) when given, else opens one and closes it at
  /// the end.
  core::Result<size_t> submit(GenerationRequest request, cache::SequenceId sequence = {});
  /// One step for all unfinished requests; false when there are none.
  core::Result<bool> step();
  /// Steps until all are finished.
  core::Status finish();
  const Generation& result(size_t request) const { return active_[request]->generation; }

 private:
  struct Active {
    GenerationRequest request;
    Generation generation;
    cache::SequenceId sequence;
    bool owns_sequence = true;
    std::vector<int32_t> known;  ///< prompt and generated tokens
    std::vector<int32_t> guess;  ///< of those that follow
    std::unique_ptr<Sampler> sampler;
    StopMatcher stops;
    std::unique_ptr<text::StreamDecoder> decoder;
    std::unique_ptr<text::TokenMatcher> matcher;  ///< with a grammar
    core::Stopwatch clock;
    bool sampled = false;
    bool reads = false;            ///< its prompt, for the router
    const Route* route = nullptr;  ///< decided; null: the runner's own
  };

  core::Status check_source(const GenerationRequest& request, cache::SequenceId sequence) const;
  /// A request that gets logits in a step: for its next token, and for those after each token of its guess.
  struct Turn {
    size_t request = 0;
    size_t rows = 0;
  };

  core::Status encode_sources();
  core::Status guess();
  core::Status confirm_all(double seconds);
  core::Status confirm(Active& active, std::span<const float> logits);
  core::Result<bool> step_routed();
  core::Result<bool> step_route(const Route* route, bool reads);
  core::Status decide_routes();
  void fill_batch(const Route* route, bool reads);
  void add_rows(Active& active, size_t index, int64_t budget);
  core::Status accept(Active& active, std::span<const float> logits);
  void take(Active& active, int32_t token);
  void emit(Active& active, const std::string& text);
  void end(Active& active, FinishReason reason);

  Runner& runner_;
  const text::Tokenizer* tokenizer_;
  Speculation* speculation_;
  std::vector<DraftText> texts_;  ///< that may have a guess
  std::vector<std::unique_ptr<Active>> active_;
  std::vector<BatchRow> rows_;
  std::vector<Turn> sampling_;  ///< in the order of their rows
  std::vector<float> logits_;
  std::optional<RouterReader> reader_;           ///< with a router
  std::vector<std::unique_ptr<Route>> decided_;  ///< each once, in the order of their first texts
};

}  // namespace lamina::run

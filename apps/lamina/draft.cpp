#include "lamina/draft.h"

#include <fmt/format.h>

#include <algorithm>

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

Status check_tokens(const Session& session, const models::Model& draft) {
  LAMINA_ASSIGN(const text::Tokenizer theirs, models::load_tokenizer(draft.files()));
  if (session.tokenizer) return models::check_same_tokens(*session.tokenizer, theirs);
  LAMINA_ASSIGN(const text::Tokenizer ours, models::load_tokenizer(session.model->files()));
  return models::check_same_tokens(ours, theirs);
}

/// Loads the draft's model, with a runner for as many sequences as the session's.
Result<std::unique_ptr<run::Drafter>> open_model(const Session& session, const CommonOptions& options) {
  const recipe::DraftPlan& plan = *session.plan.draft;
  const CommonOptions own{
      .model = plan.model, .recipe = {}, .threads = options.threads, .activations = options.activations};
  LAMINA_ASSIGN(Session draft, prepare_session(own, false));
  if (draft.model->encoder() != nullptr || session.model->encoder() != nullptr) {
    return fail(ErrorCode::kUnsupported, "draft",
                "an encoder-decoder reads a text of its own; two models that write on expected");
  }
  const auto keeps_state = [](const layers::Layer& layer) {
    return std::ranges::any_of(
        layer.parts, [](const layers::Layer::Part& part) { return part.sublayer->cache_shape().keeps_state(); });
  };
  if (std::ranges::any_of(draft.model->layers(), keeps_state)) {
    return fail(ErrorCode::kUnsupported, plan.model,
                "as a draft it must forget tokens again, which its recurrent states cannot");
  }
  LAMINA_CHECK_OK(check_tokens(session, *draft.model));
  const run::RunnerOptions& theirs = session.runner->options();
  const int64_t context = std::min(theirs.context, draft.model->context());
  draft.pool = session.pool;
  LAMINA_CHECK_OK(start_session(draft, own, {.context = context, .sequences = theirs.sequences}));
  return run::make_model_drafter(std::move(draft.model), std::move(draft.runner), session.model->vocabulary(),
                                 plan.confidence);
}

}  // namespace

Result<std::unique_ptr<run::Speculation>> open_speculation(const Session& session, const CommonOptions& options) {
  if (!session.plan.draft) return std::unique_ptr<run::Speculation>();
  if (session.plan.draft->source != recipe::DraftPlan::Source::kModel)
    return run::Speculation::create(*session.plan.draft, *session.runner);
  LAMINA_ASSIGN(std::unique_ptr<run::Drafter> drafter, open_model(session, options));
  return std::make_unique<run::Speculation>(*session.plan.draft, std::move(drafter));
}

nlohmann::ordered_json draft_json(const run::DraftCounts& counts) {
  return {{"drafted", counts.drafted},         {"accepted", counts.accepted},
          {"acceptance", counts.acceptance()}, {"steps", counts.steps},
          {"plain_steps", counts.plain},       {"tokens_per_step", counts.tokens_per_step()},
          {"draft_ms", 1e3 * counts.seconds}};
}

std::string draft_text(const run::DraftCounts& counts) {
  return fmt::format("{} of {} guessed tokens were right, {:.2f} tokens a step in {} steps with a guess; {} without",
                     counts.accepted, counts.drafted, counts.tokens_per_step(), counts.steps, counts.plain);
}

}  // namespace lamina::app

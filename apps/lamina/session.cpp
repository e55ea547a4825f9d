#include "lamina/session.h"

#include <algorithm>
#include <atomic>
#include <future>

#include "core/clock.h"
#include "core/memory.h"
#include "lamina/packed.h"
#include "lamina/progress.h"
#include "lamina/router.h"
#include "lamina/store.h"
#include "recipe/recipe.h"
#include "recipe/technique.h"
#include "run/plan_recipe.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

constexpr int64_t kDefaultContext = 4096;

/// Reads the tokenizer on a thread of its own.
class TokenizerReader {
 public:
  explicit TokenizerReader(const format::ModelFiles& files)
      : result_(std::async(std::launch::async, [this, &files] {
          auto tokenizer = models::load_tokenizer(files);
          failed_ = !tokenizer;
          return tokenizer;
        })) {}
  /// Whether there is an error already.
  bool failed() const { return failed_; }
  Result<text::Tokenizer> take() { return result_.get(); }

 private:
  std::atomic<bool> failed_ = false;
  std::future<Result<text::Tokenizer>> result_;
};

/// Stops when `reader`, if there is one, fails.
core::Status load_weights(Session& session, bool exact, const TokenizerReader* reader) {
  if (load_packed(*session.model, exact)) return {};
  std::optional<Progress> bar;
  core::Stopwatch watch;
  return session.model->load(session.load_pool ? *session.load_pool : *session.pool, [&](int64_t done, int64_t total) {
    if (!bar && watch.seconds() > 1) bar.emplace("loading", total);
    if (bar) bar->update(done);
    return reader == nullptr || !reader->failed();
  });
}

}  // namespace

Result<std::unique_ptr<models::Model>> build_model(const CommonOptions& options) {
  LAMINA_ASSIGN(const std::filesystem::path path, resolve_model(options.model));
  LAMINA_ASSIGN(recipe::Recipe parsed, recipe::parse(options.recipe));
  LAMINA_CHECK_OK(recipe::validate(parsed));
  return models::Model::build(path, {.exact = options.activations == "f32", .recipe = std::move(parsed)});
}

Result<int64_t> choose_context(const CommonOptions& options, const SessionNeeds& needs, const models::Model& model) {
  if (options.context > model.context()) {
    return fail(ErrorCode::kInvalid, "--ctx", "{} positions; the model was made for {}", options.context,
                model.context());
  }
  if (options.context > 0) return options.context;
  const int64_t wanted = needs.context > 0 ? needs.context : kDefaultContext;
  return std::min(wanted, model.context());
}

core::Status check_memory(int64_t weights, int64_t cache, int64_t workspace) {
  const int64_t available = core::available_bytes();
  if (weights + cache + workspace <= available) return {};
  return fail(
      ErrorCode::kLimit, "memory",
      "weights {}, cache {} and workspace {} do not fit into the {} that are free; a smaller --ctx or model would",
      size_text(weights), size_text(cache), size_text(workspace), size_text(available));
}

Result<Session> prepare_session(const CommonOptions& options, bool tokenizer) {
  Session session;
  LAMINA_ASSIGN(session.model, build_model(options));
  LAMINA_ASSIGN(session.plan, run::plan_recipe(options.recipe, *session.model));
  if (session.plan.router) {
    LAMINA_ASSIGN(session.router, open_router(*session.plan.router, *session.model));
  }
  if (tokenizer) {
    LAMINA_ASSIGN(session.tokenizer, models::load_tokenizer(session.model->files()));
    LAMINA_CHECK_OK(models::check_vocabulary(*session.tokenizer, *session.model));
  }
  return session;
}

run::RunnerOptions runner_options(const Session& session, const SessionNeeds& needs, int64_t context) {
  return {.plan = session.plan,
          .context = context,
          .sequences = needs.sequences,
          .max_rows = std::min(needs.max_rows, context * needs.sequences),
          .cache_tokens = needs.cache_tokens == 0 ? 0 : std::max(needs.cache_tokens, context),
          .keeps_texts = needs.keeps_texts,
          .takes_routes = needs.takes_routes,
          .spare = session.router ? run::spare_visits(*session.router, session.plan.route) : needs.spare};
}

namespace {

core::Status start_beside(const TokenizerReader* reader, Session& session, const CommonOptions& options,
                          const SessionNeeds& needs) {
  if (!needs.encoder && session.model->reads_ahead()) {
    return fail(ErrorCode::kUnsupported, options.model,
                "an encoder predicts no next token; `lamina embed` or `lamina rerank` would work");
  }
  if (!needs.encoder_decoder && session.model->encoder() != nullptr) {
    return fail(ErrorCode::kUnsupported, options.model,
                "an encoder-decoder reads one text and writes another; `lamina run` or `lamina logits` would work");
  }
  if (!needs.drafts && session.plan.draft) {
    return fail(ErrorCode::kUnsupported, "recipe",
                "draft: this command writes no text, so that there is nothing to guess; `lamina run`, `bench` or "
                "`eval --tasks` would");
  }
  if (!needs.routers && session.plan.router) {
    return fail(ErrorCode::kUnsupported, "recipe",
                "route:first and route:drllm decide once a prompt is read, for the text that follows, which this "
                "command does not do; `lamina run` with a prompt does");
  }
  if (!session.pool) session.pool = std::make_shared<core::ThreadPool>(options.threads);
  LAMINA_ASSIGN(const int64_t context, choose_context(options, needs, *session.model));
  const run::RunnerOptions own = runner_options(session, needs, context);
  LAMINA_ASSIGN(session.memory, run::Runner::plan_memory(*session.model, *session.pool, own));
  LAMINA_CHECK_OK(check_memory(session.model->weight_bytes(), session.memory.cache.total(), session.memory.workspace));
  note_all(session.model->weights().notes());
  LAMINA_CHECK_OK(load_weights(session, options.activations == "f32", reader));
  LAMINA_ASSIGN(session.runner, run::Runner::create(*session.model, *session.pool, own));
  session.load_seconds = session.since_start.seconds();
  return {};
}

}  // namespace

core::Status start_session(Session& session, const CommonOptions& options, const SessionNeeds& needs) {
  return start_beside(nullptr, session, options, needs);
}

Result<Session> open_session(const CommonOptions& options, const SessionNeeds& needs) {
  LAMINA_ASSIGN(Session session, prepare_session(options, false));
  if (!needs.tokenizer) {
    LAMINA_CHECK_OK(start_session(session, options, needs));
    return session;
  }
  TokenizerReader reader(session.model->files());
  const core::Status started = start_beside(&reader, session, options, needs);
  LAMINA_ASSIGN(session.tokenizer, reader.take());
  LAMINA_CHECK_OK(models::check_vocabulary(*session.tokenizer, *session.model));
  LAMINA_CHECK_OK(started);
  session.load_seconds = session.since_start.seconds();
  return session;
}

}  // namespace lamina::app

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/clock.h"
#include "lamina/cli.h"
#include "models/model.h"
#include "models/vocabulary.h"
#include "recipe/plan.h"
#include "run/engine.h"
#include "run/runner.h"
#include "run/speculation.h"

namespace lamina::app {

/// A model that is ready to run, with what the command line asked for.
struct Session {
  std::shared_ptr<core::ThreadPool> pool;         ///< start_session makes it unless it is there
  std::shared_ptr<core::ThreadPool> load_pool{};  ///< loads the weights; null: `pool` does
  std::unique_ptr<models::Model> model;
  recipe::RunPlan plan;
  std::optional<text::Tokenizer> tokenizer;
  std::unique_ptr<run::Runner> runner;
  std::unique_ptr<run::Speculation> speculation{};  ///< of a recipe with a draft: open_speculation
  std::optional<run::Router> router{};              ///< of a recipe with one
  core::Stopwatch since_start;                      ///< of preparing
  double load_seconds = 0;
  run::RunnerMemory memory;  ///< that start_session has found to fit

  int64_t context() const { return runner->options().context; }
};

/// How much of a sequence and how many of them a command needs.
struct SessionNeeds {
  int64_t context = 0;  ///< positions per sequence when --ctx is not given; 0: the model's context, at most 4096
  int32_t sequences = 1;
  int64_t max_rows = 512;
  int64_t cache_tokens = 0;  ///< positions of all sequences together; 0: as many as their longest texts need
  bool keeps_texts = false;  ///< keys and values of texts that have ended are kept for others
  bool tokenizer = true;
  bool takes_routes = false;           ///< texts may have routes of their own
  std::vector<recipe::Visit> spare{};  ///< visits beside the plan's that routes may make
  bool drafts = false;                 ///< whether the command can guess tokens; else recipes with a draft are refused
  bool routers = false;                ///< whether the command lets routers decide; else recipes with one are refused
  bool encoder = false;                ///< whether the command also takes models that do not predict the next token
  bool encoder_decoder = false;        ///< whether it also takes models that read one text and write another
};

/// The store's or the user's model of that name, built but not loaded.
core::Result<std::unique_ptr<models::Model>> build_model(const CommonOptions& options);

/// The first half of open_session: builds the model, checks the recipe and reads the tokenizer; nothing is loaded.
core::Result<Session> prepare_session(const CommonOptions& options, bool tokenizer);

/// How the session's runner is made for texts of so many positions.
run::RunnerOptions runner_options(const Session& session, const SessionNeeds& needs, int64_t context);

/// The second half: checks memory, loads the weights and makes the runner.
core::Status start_session(Session& session, const CommonOptions& options, const SessionNeeds& needs);

/// Builds the model, checks recipe and memory, loads the weights (with a bar on a terminal when it takes long) and
/// makes the runner.
core::Result<Session> open_session(const CommonOptions& options, const SessionNeeds& needs);

/// Positions per sequence: what the user says, else what the command needs, never more than the model knows.
core::Result<int64_t> choose_context(const CommonOptions& options, const SessionNeeds& needs,
                                     const models::Model& model);

/// An error with both numbers unless `bytes` fit into the memory that is left.
core::Status check_memory(int64_t weights, int64_t cache, int64_t workspace);

}  // namespace lamina::app

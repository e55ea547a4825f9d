#include "lamina/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "core/checksum.h"
#include "eval/routed_logits.h"
#include "eval/scoring.h"
#include "eval/tasks.h"
#include "lamina/draft.h"
#include "lamina/progress.h"
#include "lamina/session.h"
#include "lamina/store.h"
#include "recipe/technique.h"
#include "run/plan_recipe.h"
#include "run/route_cost.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr int64_t kDefaultWindow = 512;

/// Sequences that are scored together: the windows of the text, or the items of one task.
struct EvalSet {
  std::string task;      ///< empty for the text
  std::string checksum;  ///< of what is scored: other models' figures for another one say nothing of these
  std::vector<eval::ScoredSequence> sequences;
  eval::StepShape shape;
};

/// What the text's logits are compared with: a second model, a second runner over the same model, or a file.
struct Reference {
  std::unique_ptr<Session> session;
  std::unique_ptr<run::Runner> runner;  ///< over the model under test
  std::unique_ptr<format::NpyFile> file;
  std::unique_ptr<eval::LogitSource> source;
};

std::string checksum_of(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", core::checksum(bytes));
}

Result<EvalSet> text_set(const EvalOptions& options, const Session& session) {
  const int64_t size =
      options.common.context > 0 ? options.common.context : std::min(kDefaultWindow, session.model->context());
  LAMINA_ASSIGN(const std::string text, read_file(options.text));
  LAMINA_ASSIGN(const std::vector<int32_t> tokens,
                session.tokenizer->encode(text, {.add_special = false, .parse_special = false}));
  EvalSet set;
  LAMINA_ASSIGN(set.sequences,
                eval::cut_windows(tokens, size, options.scored == "all" ? 1 : size / 2, options.windows));
  // Of tokens: figures a token of another tokenizer cannot be compared.
  set.checksum =
      checksum_of(std::as_bytes(std::span(tokens))) + fmt::format("-{}-{}", set.sequences.size(), options.scored);
  return set;
}

Result<EvalSet> task_set(const EvalOptions& options, const std::string& path, const Session& session) {
  LAMINA_ASSIGN(const std::string text, read_file(path));
  LAMINA_ASSIGN(const std::vector<eval::TaskItem> items, eval::parse_tasks(text, path, options.items));
  EvalSet set{.task = std::filesystem::path(path).stem().string(),
              .checksum = checksum_of(std::as_bytes(std::span(text))) + fmt::format("-{}", options.items),
              .sequences = {},
              .shape = {}};
  for (const eval::TaskItem& item : items) {
    LAMINA_ASSIGN(eval::ScoredSequence sequence, eval::task_sequence(item, options.task_prefix, *session.tokenizer));
    set.sequences.push_back(std::move(sequence));
  }
  return set;
}

/// Everything that is to be scored, each with a shape of steps.
Result<std::vector<EvalSet>> make_sets(const EvalOptions& options, const Session& session) {
  std::vector<EvalSet> sets;
  if (!options.text.empty()) {
    LAMINA_ASSIGN(EvalSet set, text_set(options, session));
    sets.push_back(std::move(set));
  }
  for (const std::string& path : options.tasks) {
    LAMINA_ASSIGN(EvalSet set, task_set(options, path, session));
    sets.push_back(std::move(set));
  }
  for (EvalSet& set : sets) {
    set.shape = eval::step_shape(set.sequences, session.model->vocabulary());
    for (const eval::ScoredSequence& sequence : set.sequences) {
      if (sequence.inputs() <= session.model->context()) continue;
      return fail(ErrorCode::kLimit, set.task.empty() ? "--ctx" : set.task, "{} tokens; the model was made for {}",
                  sequence.inputs() + 1, session.model->context());
    }
  }
  return sets;
}

SessionNeeds needs_of(std::span<const EvalSet> sets) {
  SessionNeeds needs{.context = 1, .sequences = 1, .max_rows = 1};
  for (const EvalSet& set : sets) {
    needs.sequences = std::max(needs.sequences, set.shape.sequences);
    needs.max_rows = std::max(needs.max_rows, set.shape.rows);
    for (const auto& sequence : set.sequences) needs.context = std::max(needs.context, sequence.inputs());
  }
  return needs;
}

/// The reference's options: those of the model under test but for model, recipe and activations.
CommonOptions reference_options(const EvalOptions& options) {
  CommonOptions common = options.common;
  common.model = options.reference;
  common.recipe = options.reference_recipe;
  common.context = 0;
  if (!options.reference_activations.empty()) common.activations = options.reference_activations;
  return common;
}

/// Whether the recipe lays weights out otherwise than the file has them.
bool changes_weights(const recipe::Recipe& recipe) {
  return std::ranges::any_of(recipe.clauses, [](const recipe::Clause& clause) {
    return std::ranges::any_of(clause.steps, [&](const recipe::Step& step) {
      const recipe::Technique* technique = recipe::find_technique(clause.where.place, step.technique);
      return technique != nullptr && (technique->sets_format || technique->at_load);
    });
  });
}

/// Whether both have the same packed weights, so that one copy serves both.
Result<bool> same_weights(const CommonOptions& a, const CommonOptions& b) {
  LAMINA_ASSIGN(const std::filesystem::path first, resolve_model(a.model));
  LAMINA_ASSIGN(const std::filesystem::path second, resolve_model(b.model));
  LAMINA_ASSIGN(const recipe::Recipe own, recipe::parse(a.recipe));
  LAMINA_ASSIGN(const recipe::Recipe other, recipe::parse(b.recipe));
  std::error_code error;
  return a.activations == b.activations && !changes_weights(own) && !changes_weights(other) &&
         std::filesystem::equivalent(first, second, error);
}

/// An error unless both models read the text as the same tokens.
Status check_same_tokens(const EvalOptions& options, const Session& session, const Session& reference) {
  if (session.model->vocabulary() != reference.model->vocabulary()) {
    return fail(ErrorCode::kInvalid, "--reference", "{} has a vocabulary of {}, {} one of {}; the same expected",
                options.reference, reference.model->vocabulary(), options.common.model, session.model->vocabulary());
  }
  LAMINA_ASSIGN(const std::string text, read_file(options.text));
  constexpr text::EncodeOptions kPlain{.add_special = false, .parse_special = false};
  LAMINA_ASSIGN(const std::vector<int32_t> ours, session.tokenizer->encode(text, kPlain));
  LAMINA_ASSIGN(const std::vector<int32_t> theirs, reference.tokenizer->encode(text, kPlain));
  const auto [mine, other] = std::ranges::mismatch(ours, theirs);
  if (mine == ours.end() && other == theirs.end()) return {};
  return fail(ErrorCode::kInvalid, "--reference",
              "{} and {} read the text differently from token {} on; the same tokenizer expected", options.reference,
              options.common.model, mine - ours.begin());
}

/// A second runner over the weights of the model under test.
Status share_model(Session& session, const CommonOptions& common, Reference& reference) {
  run::RunnerOptions runner_options = session.runner->options();
  runner_options.spare.clear();
  LAMINA_ASSIGN(runner_options.plan, run::plan_recipe(common.recipe, *session.model));
  if (runner_options.plan.draft)
    return fail(ErrorCode::kUnsupported, "--reference-recipe", "draft: a reference writes no text to guess");
  if (runner_options.plan.router)
    return fail(ErrorCode::kUnsupported, "--reference-recipe", "a router: a reference writes no text to decide for");
  LAMINA_ASSIGN(const run::RunnerMemory memory,
                run::Runner::plan_memory(*session.model, *session.pool, runner_options));
  LAMINA_CHECK_OK(check_memory(0, memory.cache.total(), memory.workspace));
  LAMINA_ASSIGN(reference.runner, run::Runner::create(*session.model, *session.pool, runner_options));
  return {};
}

Status open_reference(const EvalOptions& options, Session& session, const EvalSet& set, Reference& reference) {
  if (!options.reference_logits.empty()) {
    LAMINA_ASSIGN(format::NpyFile file, format::NpyFile::open(options.reference_logits));
    reference.file = std::make_unique<format::NpyFile>(std::move(file));
    LAMINA_ASSIGN(reference.source, eval::logits_of_file(*reference.file, set.sequences));
    return {};
  }
  const CommonOptions common = reference_options(options);
  LAMINA_ASSIGN(const bool shared, same_weights(options.common, common));
  if (shared) {
    LAMINA_CHECK_OK(share_model(session, common, reference));
    reference.source = eval::logits_of_runner(*reference.runner, set.sequences);
    return {};
  }
  LAMINA_ASSIGN(Session other, prepare_session(common, true));
  LAMINA_CHECK_OK(check_same_tokens(options, session, other));
  const SessionNeeds needs = needs_of(std::span(&set, 1));
  if (needs.context > other.model->context()) {
    return fail(ErrorCode::kLimit, "--ctx", "{} tokens; the reference was made for {}", needs.context + 1,
                other.model->context());
  }
  LAMINA_CHECK_OK(start_session(other, common, needs));
  reference.session = std::make_unique<Session>(std::move(other));
  reference.source = eval::logits_of_runner(*reference.session->runner, set.sequences);
  return {};
}

/// Scores one set, with a bar on a terminal when it takes longer than a second. With a router, `visits` becomes the
/// mean of what it decides.
Result<eval::Scores> score_set(Session& session, const EvalSet& set, eval::LogitSource* reference, double& visits) {
  std::unique_ptr<eval::LogitSource> model;
  const eval::RoutedLogits* routed = nullptr;
  if (session.router) {
    LAMINA_ASSIGN(auto made, eval::RoutedLogits::create(*session.runner, *session.router, set.sequences));
    routed = made.get();
    model = std::move(made);
  } else {
    model = eval::logits_of_runner(*session.runner, set.sequences);
  }
  std::optional<Progress> bar;
  const core::Stopwatch watch;
  LAMINA_ASSIGN(eval::Scores scores, eval::score(set.sequences, *model, reference, set.shape, *session.pool,
                                                 [&](int64_t done, int64_t total) {
                                                   if (!bar && watch.seconds() > 1)
                                                     bar.emplace(set.task.empty() ? "text" : set.task, total, "tokens");
                                                   if (bar) bar->update(done);
                                                   return true;
                                                 }));
  if (routed != nullptr) visits = routed->mean_visits();
  return scores;
}

/// One figure under `name`, its 95 % interval under `name`_ci95 (null when there is only one window).
void add_estimate(nlohmann::ordered_json& out, const std::string& name, const eval::Estimate& estimate) {
  out[name] = estimate.value;
  out[name + "_ci95"] = nullptr;
  if (estimate.interval) out[name + "_ci95"] = {estimate.interval->low, estimate.interval->high};
}

Status add_text_figures(const EvalSet& set, const eval::Scores& scores, nlohmann::ordered_json& out) {
  out["text_checksum"] = set.checksum;
  out["tokens"] = scores.nll.size();
  out["windows"] = scores.nll.windows();
  LAMINA_ASSIGN(const eval::Estimate nll, eval::mean(scores.nll));
  LAMINA_ASSIGN(const eval::Estimate perplexity, eval::perplexity(scores.nll));
  add_estimate(out, "nll", nll);
  add_estimate(out, "ppl", perplexity);
  if (scores.kl.size() == 0) return {};
  LAMINA_ASSIGN(const eval::Estimate reference_perplexity, eval::perplexity(scores.reference_nll));
  LAMINA_ASSIGN(const eval::Estimate ratio, eval::mean_difference(scores.nll, scores.reference_nll));
  LAMINA_ASSIGN(const eval::Summary kl, eval::summarize(scores.kl));
  LAMINA_ASSIGN(const eval::Estimate agreement, eval::mean(scores.agreement));
  add_estimate(out, "reference_ppl", reference_perplexity);
  add_estimate(out, "ln_ppl_ratio", ratio);
  add_estimate(out, "kl_mean", kl.mean);
  add_estimate(out, "kl_p99", kl.p99);
  add_estimate(out, "top1_agreement", agreement);
  return {};
}

/// Lets the model write the answers, some side by side, instead of reading them: with a draft, which has then something
/// to guess. Which answers are right is the same.
Result<eval::Windows> write_answers(Session& session, const EvalSet& set) {
  const auto at_once = static_cast<size_t>(session.runner->options().sequences);
  eval::Windows matches;
  for (size_t begin = 0; begin < set.sequences.size(); begin += at_once) {
    const size_t end = std::min(begin + at_once, set.sequences.size());
    run::Engine engine(*session.runner, nullptr, session.speculation.get());
    for (size_t i = begin; i < end; ++i) {
      const eval::ScoredSequence& item = set.sequences[i];
      LAMINA_CHECK_OK(engine.submit({.prompt = {item.tokens.begin(), item.tokens.begin() + item.first_target},
                                     .sampling = {.temperature = 0},
                                     .max_tokens = item.targets(),
                                     .stops = {},
                                     .ignore_end = true,
                                     .sink = {}}));
    }
    LAMINA_CHECK_OK(engine.finish());
    for (size_t i = begin; i < end; ++i) {
      const eval::ScoredSequence& item = set.sequences[i];
      const auto answer = std::span(item.tokens).subspan(static_cast<size_t>(item.first_target));
      const double right = std::ranges::equal(engine.result(i - begin).tokens, answer) ? 1 : 0;
      matches.add(std::span(&right, 1));
    }
  }
  return matches;
}

Status add_task_figures(const EvalSet& set, const eval::Windows& matches, nlohmann::ordered_json& out) {
  LAMINA_ASSIGN(const eval::Estimate share, eval::mean(matches));
  nlohmann::ordered_json& task = out["tasks"][set.task];
  task["checksum"] = set.checksum;
  task["items"] = matches.size();
  task["correct"] = std::ranges::count(matches.values(), 1.0);
  add_estimate(task, "exact_match", share);
  std::string letters;
  for (const double match : matches.values()) letters += match > 0 ? '1' : '0';
  task["matches"] = letters;
  return {};
}

}  // namespace

Result<nlohmann::ordered_json> evaluate(const EvalOptions& options) {
  CommonOptions common = options.common;
  common.context = 0;  // the windows' size is no limit for task items
  LAMINA_ASSIGN(Session session, prepare_session(common, true));
  LAMINA_ASSIGN(const std::vector<EvalSet> sets, make_sets(options, session));
  SessionNeeds needs = needs_of(sets);
  needs.drafts = options.text.empty();
  needs.routers = true;
  if (session.plan.draft) needs.max_rows = std::max(needs.max_rows, needs.sequences * int64_t{8});
  LAMINA_CHECK_OK(start_session(session, common, needs));
  LAMINA_ASSIGN(session.speculation, open_speculation(session, common));
  nlohmann::ordered_json out{{"model", common.model},
                             {"recipe", common.recipe},
                             {"activations", common.activations},
                             {"file_bytes", session.model->files().file_bytes()},
                             {"bytes_per_token", run::route_cost(*session.runner).weight_bytes(1)}};
  for (const EvalSet& set : sets) {
    if (session.speculation) {
      LAMINA_ASSIGN(const eval::Windows matches, write_answers(session, set));
      LAMINA_CHECK_OK(add_task_figures(set, matches, out));
      continue;
    }
    Reference reference;
    if (set.task.empty() && (!options.reference.empty() || !options.reference_logits.empty())) {
      LAMINA_CHECK_OK(open_reference(options, session, set, reference));
    }
    double visits = 0;
    LAMINA_ASSIGN(const eval::Scores scores, score_set(session, set, reference.source.get(), visits));
    if (session.router) out["router_visits"][set.task.empty() ? "text" : set.task] = visits;
    LAMINA_CHECK_OK(set.task.empty() ? add_text_figures(set, scores, out)
                                     : add_task_figures(set, eval::exact_matches(scores.hits), out));
  }
  if (session.speculation) out["draft"] = draft_json(session.speculation->counts());
  return out;
}

}  // namespace lamina::app

#include <fmt/format.h>

#include <memory>
#include <optional>

#include "eval/path_fit.h"
#include "eval/router_fit.h"
#include "eval/tasks.h"
#include "lamina/commands.h"
#include "lamina/progress.h"
#include "lamina/route_texts.h"
#include "lamina/store.h"
#include "stats/statistics.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::ordered_json;

struct FitOptions : RouteOptions {
  std::string kind = "first";
  std::string calibration;
  std::string out;
  std::optional<double> skip;
  int64_t windows = 64;
  eval::RouterWindows shape;
  eval::PathSearch paths;
};

std::vector<int32_t> tokens_of(const Texts& texts) {
  std::vector<int32_t> out;
  for (const eval::ScoredSequence& text : texts) out.insert(out.end(), text.tokens.begin(), text.tokens.end());
  return out;
}

/// Progress that shows itself when it takes long.
eval::WindowProgress bar_of(std::optional<Progress>& bar, const core::Stopwatch& watch, const char* what) {
  return [&bar, &watch, what](int64_t done, int64_t total) {
    if (!bar && watch.seconds() > 1) bar.emplace(what, total, "texts");
    if (bar) bar->update(done);
    return true;
  };
}

Result<Texts> read_texts(const FitOptions& options, const text::Tokenizer& tokenizer) {
  Texts texts;
  const std::string& path = options.tasks.empty() ? options.calibration : options.tasks;
  LAMINA_ASSIGN(const std::string text, read_file(path));
  if (options.tasks.empty()) {
    LAMINA_ASSIGN(const std::vector<int32_t> tokens,
                  tokenizer.encode(text, {.add_special = false, .parse_special = false}));
    LAMINA_ASSIGN(texts, eval::cut_windows(tokens, options.shape.size(), options.shape.prompt, options.windows));
  } else {
    LAMINA_ASSIGN(const std::vector<eval::TaskItem> items, eval::parse_tasks(text, path, options.windows));
    LAMINA_ASSIGN(texts, item_texts(items, options.task_prefix, tokenizer));
  }
  if (texts.size() < 8) {
    return fail(ErrorCode::kInvalid, path, "{} {}; at least 8 expected, half to fit on and half to test", texts.size(),
                options.tasks.empty() ? fmt::format("windows of {} tokens", options.shape.size()) : "items");
  }
  return texts;
}

/// Loads the model for texts of these lengths.
Status start(const FitOptions& options, const Texts& texts, SessionNeeds needs, Session& session) {
  LAMINA_CHECK_OK(check_bare_route(session.plan));
  const std::string place = options.tasks.empty() ? "--prompt, --rest" : options.tasks;
  LAMINA_ASSIGN(needs.context, context_of(texts, *session.model, place));
  return start_session(session, options.common, needs);
}

ordered_json quality_json(const eval::RouteQuality& quality, int64_t visits) {
  return {{"visits", quality.visits},
          {"left_out", 1 - quality.visits / static_cast<double>(visits)},
          {"kl", quality.kl},
          {"log_ppl_ratio", quality.log_ppl_ratio}};
}

ordered_json quality_json(const eval::PathQuality& quality) {
  return {{"visits", quality.visits}, {"right", quality.right}, {"nll", quality.nll}};
}

void print_first(const ordered_json& out) {
  fmt::print("{} texts fitted on, {} held out; of {} layers, what they read foretells more than the mean in {}\n\n",
             out["fitted_texts"].get<int64_t>(), out["held_out_texts"].get<int64_t>(), out["layers"].get<int64_t>(),
             out["informed_layers"].get<int64_t>());
  fmt::print("{:<22} {:>7} {:>9} {:>9} {:>13}\n", "held out", "visits", "left out", "KL, nats", "ln(PPL/PPL0)");
  for (const char* name : {"router", "fixed"}) {
    const ordered_json& one = out[name];
    fmt::print("{:<22} {:>7.2f} {:>8.1f}% {:>9.4f} {:>+13.4f}\n", name, one["visits"].get<double>(),
               100 * one["left_out"].get<double>(), one["kl"].get<double>(), one["log_ppl_ratio"].get<double>());
  }
  fmt::print("\n{} different routes; fixed is the one route of as many visits whose layers cost least on average\n{}\n",
             out["routes"].get<int64_t>(), out["file"].get<std::string>());
}

void print_paths(const ordered_json& out) {
  fmt::print(
      "{} texts fitted on ({} more have no right path), {} held out; the paths leave out {:.1f} % of the layers "
      "and repeat {:.1f} %; of {} layers, what they read foretells something in {}\n\n",
      out["fitted_texts"].get<int64_t>(), out["without_path"].get<int64_t>(), out["held_out_texts"].get<int64_t>(),
      100 * out["label_skipped"].get<double>(), 100 * out["label_repeated"].get<double>(), out["layers"].get<int64_t>(),
      out["informed_layers"].get<int64_t>());
  fmt::print("{:<22} {:>7} {:>9} {:>15}\n", "held out", "visits", "right", "nats per target");
  for (const char* name : {"whole", "router", "fixed"}) {
    const ordered_json& one = out[name];
    fmt::print("{:<22} {:>7.2f} {:>9.3f} {:>15.4f}\n", name, one["visits"].get<double>(), one["right"].get<double>(),
               one["nll"].get<double>());
  }
  fmt::print("\n{} different routes; fixed is the one route of as many visits that the paths speak for\n{}\n",
             out["routes"].get<int64_t>(), out["file"].get<std::string>());
}

Status save_router(run::Router& router, const FitOptions& options, const models::Model& model) {
  router.model = stats::fingerprint(model.files());
  return run::save(router, options.out);
}

Result<ordered_json> fit_first(const FitOptions& options, const Texts& texts, Session& session) {
  LAMINA_CHECK_OK(start(options, texts, {.sequences = 2, .max_rows = 512}, session));
  const std::vector<int32_t> fitted = tokens_of(half(texts, 0));
  const std::vector<int32_t> held_out = tokens_of(half(texts, 1));
  const core::Stopwatch watch;
  std::optional<Progress> bar;
  LAMINA_ASSIGN(
      const std::vector<eval::LayerCosts> costs,
      eval::measure_costs(*session.runner, *session.pool, fitted, options.shape, bar_of(bar, watch, "leaving out")));
  const auto visits = std::ssize(session.plan.route);
  eval::RouterFit fit = eval::fit_router(costs, session.model->hidden(), visits, options.skip.value_or(0.1));
  bar.reset();
  LAMINA_ASSIGN(const eval::RouterTest test, eval::test_router(fit.router, costs, *session.runner, *session.pool,
                                                               held_out, options.shape, bar_of(bar, watch, "testing")));
  bar.reset();
  LAMINA_CHECK_OK(save_router(fit.router, options, *session.model));
  return ordered_json{{"fitted_texts", costs.front().costs.size()},
                      {"held_out_texts", test.windows},
                      {"layers", fit.router.layers.size()},
                      {"informed_layers", fit.informed},
                      {"routes", test.routes},
                      {"router", quality_json(test.router, visits)},
                      {"fixed", quality_json(test.fixed, visits)}};
}

Result<ordered_json> fit_paths(const FitOptions& options, const Texts& texts, Session& session) {
  LAMINA_CHECK_OK(start(options, texts, {.max_rows = 512, .spare = session.plan.route}, session));
  eval::PathSearch search = options.paths;
  search.exact = !options.tasks.empty();
  const core::Stopwatch watch;
  std::optional<Progress> bar;
  LAMINA_ASSIGN(const eval::PathLabels labels, eval::label_paths(*session.runner, *session.pool, half(texts, 0), search,
                                                                 bar_of(bar, watch, "searching paths")));
  bar.reset();
  if (labels.counts.size() < 4) {
    return fail(ErrorCode::kInvalid, options.tasks.empty() ? options.calibration : options.tasks,
                "a path gets {} of {} texts right; at least 4 expected", labels.counts.size(), (texts.size() + 1) / 2);
  }
  eval::PathFit fit = eval::fit_paths(labels, options.skip.value_or(-1));
  LAMINA_ASSIGN(const eval::PathTest test, eval::test_paths(fit.router, labels, *session.runner, *session.pool,
                                                            half(texts, 1), search, bar_of(bar, watch, "testing")));
  bar.reset();
  LAMINA_CHECK_OK(save_router(fit.router, options, *session.model));
  return ordered_json{{"fitted_texts", labels.counts.size()}, {"without_path", labels.without},
                      {"held_out_texts", test.texts},         {"label_skipped", fit.skipped},
                      {"label_repeated", fit.repeated},       {"layers", fit.router.layers.size()},
                      {"informed_layers", fit.informed},      {"routes", test.routes},
                      {"whole", quality_json(test.whole)},    {"router", quality_json(test.router)},
                      {"fixed", quality_json(test.fixed)}};
}

Status route_fit(const FitOptions& options) {
  const bool first = options.kind == "first";
  if (first && !options.tasks.empty()) {
    return fail(ErrorCode::kInvalid, "--tasks",
                "a router of kind first is fitted to what leaving a layer out does to a text; --calibration expected");
  }
  if (options.calibration.empty() == options.tasks.empty())
    return fail(ErrorCode::kInvalid, "route-fit", "either --calibration or --tasks (of kind drllm) expected");
  LAMINA_ASSIGN(Session session, prepare_session(options.common, true));
  LAMINA_ASSIGN(const Texts texts, read_texts(options, *session.tokenizer));
  ordered_json out{{"file", options.out}, {"model", options.common.model}, {"kind", options.kind}};
  LAMINA_ASSIGN(const ordered_json found,
                first ? fit_first(options, texts, session) : fit_paths(options, texts, session));
  out.update(found);
  if (options.common.json) {
    print_json(out);
  } else if (first) {
    print_first(out);
  } else {
    print_paths(out);
  }
  return {};
}

void add_path_options(CLI::App& command, FitOptions& options) {
  command.add_option("--tasks", options.tasks,
                     "of kind drllm: JSON lines with prompt and answer, instead of --calibration");
  add_task_prefix(command, options);
  command
      .add_option("--simulations", options.paths.search.simulations, "of kind drllm: paths to look at for each text")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command
      .add_option("--slack", options.paths.slack,
                  "of kind drllm: share by which a right path's loss may exceed the whole route's, without --tasks")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 10.0));
}

}  // namespace

void add_route_fit(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<FitOptions>();
  CLI::App* command = add_command(
      app, "route-fit", "fit a router that decides, prompt by prompt, which layers are left out or repeated",
      "  lamina route-fit smollm2-135m --calibration text.txt -o router.safetensors\n"
      "  lamina run smollm2-135m --recipe 'route:first(\"router.safetensors\")' --raw \"Once upon a time\"\n"
      "  lamina route-fit smollm2-135m --kind drllm --tasks sums.jsonl -o paths.safetensors");
  add_model_options(*command, options->common);
  command
      ->add_option("--kind", options->kind,
                   "first: leave layers out of what follows a prompt; drllm: leave out or repeat them, prompt and all")
      ->capture_default_str()
      ->check(CLI::IsMember({"first", "drllm"}));
  command->add_option("--calibration", options->calibration, "a text: every other window is fitted on, the rest tests");
  add_path_options(*command, *options);
  command->add_option("-o,--output", options->out, "the file to write")->required();
  command
      ->add_option("--skip", options->skip,
                   "share of the layers to leave out, on average, or of kind drllm to leave out or repeat; by default "
                   "0.1, of kind drllm as the paths do")
      ->check(CLI::Range(0.0, 0.9));
  command->add_option("--windows", options->windows, "at most so many windows of the text, or items")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{8}, int64_t{2000}));
  command->add_option("--prompt", options->shape.prompt, "tokens of a window that are the prompt")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 16));
  command->add_option("--rest", options->shape.rest, "tokens after them")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 12));
  command->callback([options, &exit_status] { exit_status = exit_status_of(route_fit(*options)); });
}

}  // namespace lamina::app

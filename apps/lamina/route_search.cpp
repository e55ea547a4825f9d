#include "eval/route_search.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <numeric>

#include "eval/scoring.h"
#include "eval/tasks.h"
#include "lamina/commands.h"
#include "lamina/progress.h"
#include "lamina/route_texts.h"
#include "lamina/store.h"
#include "run/random.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::ordered_json;

struct SearchOptions : RouteOptions {
  int64_t items = 0;
  eval::RouteSearchOptions search;
};

using Items = std::vector<eval::TaskItem>;

/// The items with each other's answers: what a search finds on them is chance.
Items with_answers_of_others(Items items, uint64_t seed) {
  for (size_t i = items.size(); i > 1; --i)
    std::swap(items[i - 1].answer, items[run::random_bits(seed, i, 1) % (i - 1)].answer);
  return items;
}

/// Lets chains of a model's layers answer items.
class Examiner {
 public:
  Examiner(Session& session, std::vector<recipe::Visit> route) : session_(session), route_(std::move(route)) {}

  Result<Texts> texts(const Items& items, const std::string& prefix) const {
    return item_texts(items, prefix, *session_.tokenizer);
  }

  Result<eval::Scores> scores(const eval::LayerCounts& counts, const Texts& sequences) const {
    LAMINA_ASSIGN(const run::Route route, session_.runner->plan_route(eval::visits_of(counts, route_)));
    const auto source = eval::logits_of_runner(*session_.runner, sequences, &route);
    const run::RunnerOptions& options = session_.runner->options();
    const eval::StepShape shape{.rows = options.max_rows, .sequences = options.sequences};
    return eval::score(sequences, *source, nullptr, shape, *session_.pool, {});
  }

  const std::vector<recipe::Visit>& route() const { return route_; }

 private:
  Session& session_;
  std::vector<recipe::Visit> route_;
};

/// Builds the model with room for every layer twice, and reads the items.
Result<Session> open(const SearchOptions& options, Items& items, std::vector<recipe::Visit>& route) {
  LAMINA_ASSIGN(Session session, prepare_session(options.common, true));
  route = session.plan.route;
  LAMINA_CHECK_OK(check_bare_route(session.plan));
  if (std::ranges::any_of(route, &recipe::Visit::beside)) {
    return fail(ErrorCode::kUnsupported, "--recipe",
                "chains are made of single layers; those side by side have no place in them");
  }
  LAMINA_ASSIGN(const std::string text, read_file(options.tasks));
  LAMINA_ASSIGN(items, eval::parse_tasks(text, options.tasks, options.items));
  if (items.size() < 4) {
    return fail(ErrorCode::kInvalid, options.tasks, "{} items; at least 4, two to search on and two to test",
                items.size());
  }
  session.plan.route.clear();
  for (const recipe::Visit& visit : route) session.plan.route.insert(session.plan.route.end(), 2, visit);
  LAMINA_ASSIGN(const Texts texts, item_texts(items, options.task_prefix, *session.tokenizer));
  SessionNeeds needs{.sequences = 32, .max_rows = 512};
  LAMINA_ASSIGN(needs.context, context_of(texts, *session.model, options.tasks));
  LAMINA_CHECK_OK(start_session(session, options.common, needs));
  return session;
}

Result<eval::RouteSearch> search(const SearchOptions& options, const Examiner& examiner, const Texts& items,
                                 const char* what) {
  std::optional<Progress> bar;
  const core::Stopwatch watch;
  int64_t done = 0;
  return eval::search_routes(static_cast<int>(examiner.route().size()), options.search,
                             [&](const eval::LayerCounts& counts) -> Result<eval::ChainScore> {
                               LAMINA_ASSIGN(const eval::Scores scores, examiner.scores(counts, items));
                               LAMINA_ASSIGN(const eval::Estimate accuracy,
                                             eval::mean(eval::exact_matches(scores.hits), {.resamples = 1}));
                               LAMINA_ASSIGN(const eval::Estimate nll, eval::mean(scores.nll, {.resamples = 1}));
                               if (!bar && watch.seconds() > 1)
                                 bar.emplace(what, options.search.simulations + 1, "chains");
                               if (bar) bar->update(++done);
                               return eval::ChainScore{.accuracy = accuracy.value, .nll = nll.value};
                             });
}

/// A chain on the items that it was found on, and on those that it has not seen.
Result<ordered_json> report(const eval::Chain& chain, const Examiner& examiner, const Texts& held_out,
                            const eval::Windows& whole) {
  LAMINA_ASSIGN(const eval::Scores scores, examiner.scores(chain.counts, held_out));
  const eval::Windows matches = eval::exact_matches(scores.hits);
  LAMINA_ASSIGN(const eval::Estimate accuracy, eval::mean(matches));
  LAMINA_ASSIGN(const eval::Estimate gain, eval::mean_difference(matches, whole));
  ordered_json out{{"recipe", "route:" + recipe::route_text(eval::visits_of(chain.counts, examiner.route()))},
                   {"visits", chain.length()},
                   {"searched", chain.score.accuracy},
                   {"held_out", accuracy.value},
                   {"held_out_gain", gain.value},
                   {"held_out_gain_ci95", nullptr}};
  if (gain.interval) out["held_out_gain_ci95"] = {gain.interval->low, gain.interval->high};
  return out;
}

/// Searches on one half of the items and tells of the chains that were found on the other.
Result<ordered_json> search_and_test(const SearchOptions& options, const Examiner& examiner, const Items& searched,
                                     const Items& held_out, const char* what) {
  LAMINA_ASSIGN(const Texts search_items, examiner.texts(searched, options.task_prefix));
  LAMINA_ASSIGN(const Texts test_items, examiner.texts(held_out, options.task_prefix));
  LAMINA_ASSIGN(const eval::RouteSearch found, search(options, examiner, search_items, what));
  const eval::Chain& whole = found.chains.front();
  LAMINA_ASSIGN(const eval::Scores whole_scores, examiner.scores(whole.counts, test_items));
  const eval::Windows whole_matches = eval::exact_matches(whole_scores.hits);
  ordered_json out{{"chains", found.chains.size()}};
  LAMINA_ASSIGN(out["whole"], report(whole, examiner, test_items, whole_matches));
  LAMINA_ASSIGN(out["best"], report(found.best(options.search.length_price), examiner, test_items, whole_matches));
  LAMINA_ASSIGN(out["shortest"], report(found.shortest(), examiner, test_items, whole_matches));
  return out;
}

void print_chain(const std::string& name, const ordered_json& chain) {
  const auto& interval = chain["held_out_gain_ci95"];
  const std::string range =
      interval.is_null() ? std::string()
                         : fmt::format("  [{:+.3f}, {:+.3f}]", interval[0].get<double>(), interval[1].get<double>());
  fmt::print("{:<22} {:>6} {:>9.3f} {:>9.3f} {:>+9.3f}{}\n", name, chain["visits"].get<int64_t>(),
             chain["searched"].get<double>(), chain["held_out"].get<double>(), chain["held_out_gain"].get<double>(),
             range);
}

void print_report(const ordered_json& out) {
  fmt::print("{} items searched on, {} held out; {} chains\n\n", out["searched_items"].get<int64_t>(),
             out["held_out_items"].get<int64_t>(), out["found"]["chains"].get<int64_t>());
  fmt::print("{:<22} {:>6} {:>9} {:>9} {:>9}  95 % interval\n", "", "visits", "searched", "held out", "gain");
  for (const auto& [part, name] : {std::pair{"found", ""}, {"control", "control: "}}) {
    for (const char* chain : {"whole", "best", "shortest"}) print_chain(std::string(name) + chain, out[part][chain]);
  }
  fmt::print("\nbest:     {}\nshortest: {}\n", out["found"]["best"]["recipe"].get<std::string>(),
             out["found"]["shortest"]["recipe"].get<std::string>());
  fmt::print(
      "The control searches in the same way where each item has another's answer: what it gains there is chance.\n");
}

Status route_search(const SearchOptions& options) {
  Items items;
  std::vector<recipe::Visit> route;
  LAMINA_ASSIGN(Session session, open(options, items, route));
  const Examiner examiner(session, std::move(route));
  const Items searched = half(items, 0);
  const Items held_out = half(items, 1);
  ordered_json out{{"model", options.common.model},
                   {"tasks", options.tasks},
                   {"searched_items", searched.size()},
                   {"held_out_items", held_out.size()},
                   {"simulations", options.search.simulations}};
  LAMINA_ASSIGN(out["found"], search_and_test(options, examiner, searched, held_out, "chains"));
  const uint64_t seed = options.search.seed;
  LAMINA_ASSIGN(out["control"], search_and_test(options, examiner, with_answers_of_others(searched, seed),
                                                with_answers_of_others(held_out, seed), "control"));
  if (options.common.json) {
    print_json(out);
  } else {
    print_report(out);
  }
  return {};
}

}  // namespace

void add_route_search(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<SearchOptions>();
  CLI::App* command = add_command(app, "route-search", "search shorter or better chains of a model's layers for a task",
                                  "  lamina route-search smollm2-135m --tasks sums.jsonl\n"
                                  "  lamina route-search model.gguf --tasks sums.jsonl --simulations 300 --json");
  add_model_options(*command, options->common);
  command
      ->add_option("--tasks", options->tasks,
                   "JSON lines with prompt and answer: every other one is searched on, the rest tests")
      ->required();
  add_task_prefix(*command, *options);
  command->add_option("--items", options->items, "at most so many items")->check(CLI::PositiveNumber);
  command->add_option("--simulations", options->search.simulations, "chains to look at, those met again among them")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command
      ->add_option("--length-price", options->search.length_price,
                   "share of right answers that a layer less may cost, times the layers")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 10.0));
  command->add_option("--seed", options->search.seed, "the same seed searches the same way")->capture_default_str();
  command->callback([options, &exit_status] { exit_status = exit_status_of(route_search(*options)); });
}

}  // namespace lamina::app

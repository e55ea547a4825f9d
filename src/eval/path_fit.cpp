#include "eval/path_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "eval/directions.h"
#include "eval/regression.h"
#include "eval/tasks.h"

namespace lamina::eval {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr size_t kClasses = 3;  // how often a layer runs: 0, 1, 2
constexpr size_t kFolds = 4;

/// Tokens of a prompt that are read to decide: the last one is computed by what is decided.
int64_t read_length(const ScoredSequence& text) {
  return text.first_target - 1;
}

/// A sequence that is closed at the end.
class OpenSequence {
 public:
  explicit OpenSequence(run::Runner& runner) : runner_(runner), id_(runner.open()) {}
  ~OpenSequence() {
    if (id_) runner_.close(*id_);
  }
  OpenSequence(const OpenSequence&) = delete;
  OpenSequence& operator=(const OpenSequence&) = delete;
  const Result<cache::SequenceId>& id() const { return id_; }

  Status read(std::span<const int32_t> tokens, run::BorderHook& hook) {
    runner_.set_hook(&hook);
    Status status = feed(tokens);
    runner_.set_hook(nullptr);
    return status;
  }

 private:
  Status feed(std::span<const int32_t> tokens) {
    const auto most = static_cast<size_t>(runner_.options().max_rows);
    for (; !tokens.empty(); tokens = tokens.subspan(std::min(most, tokens.size()))) {
      std::vector<run::BatchRow> rows;
      for (const int32_t token : tokens.first(std::min(most, tokens.size())))
        rows.push_back({.token = token, .sequence = *id_});
      LAMINA_CHECK_OK(runner_.step(rows, {}));
    }
    return {};
  }

  run::Runner& runner_;
  Result<cache::SequenceId> id_;
};

/// Measures paths on one text.
class Examiner {
 public:
  Examiner(run::Runner& runner, core::ThreadPool& pool, const PathSearch& search)
      : runner_(runner), pool_(pool), search_(search) {}

  /// The whole route first: the others are held against it.
  Status begin(const ScoredSequence& text) {
    text_ = {&text, 1};
    whole_nll_ = std::numeric_limits<double>::infinity();
    LAMINA_ASSIGN(whole_, score(runner_.options().plan.route));
    whole_nll_ = whole_.nll;
    return {};
  }
  const ChainScore& whole() const { return whole_; }

  Result<ChainScore> score(const std::vector<recipe::Visit>& visits) const {
    LAMINA_ASSIGN(const run::Route route, runner_.plan_route(visits));
    const auto source = logits_of_runner(runner_, text_, &route);
    const StepShape shape{.rows = runner_.options().max_rows, .sequences = 1};
    LAMINA_ASSIGN(const Scores scores, eval::score(text_, *source, nullptr, shape, pool_, {}));
    LAMINA_ASSIGN(const Estimate nll, mean(scores.nll, {.resamples = 1}));
    const bool right = search_.exact ? exact_matches(scores.hits).values().front() == 1
                                     : nll.value <= whole_nll_ * (1 + search_.slack);
    return ChainScore{.accuracy = right ? 1.0 : 0.0, .nll = nll.value};
  }

 private:
  run::Runner& runner_;
  core::ThreadPool& pool_;
  const PathSearch& search_;
  std::span<const ScoredSequence> text_;
  ChainScore whole_;
  double whole_nll_ = 0;
};

/// The shortest path that is right, among equals that of the least loss; null: none is.
const Chain* shortest_right(const RouteSearch& found) {
  const Chain* best = nullptr;
  for (const Chain& chain : found.chains) {
    if (chain.score.accuracy < 1) continue;
    const auto rank = [](const Chain& one) { return std::pair(one.length(), one.score.nll); };
    if (best == nullptr || rank(chain) < rank(*best)) best = &chain;
  }
  return best;
}

Status add_reads(run::Runner& runner, const ScoredSequence& text, PathLabels& labels) {
  DirectionReader directions({.visits = std::ssize(labels.route),
                              .hidden = labels.hidden,
                              .length = read_length(text),
                              .windows = labels.windows});
  OpenSequence sequence(runner);
  if (!sequence.id()) return std::unexpected(sequence.id().error());
  LAMINA_CHECK_OK(sequence.read(std::span(text.tokens).first(static_cast<size_t>(read_length(text))), directions));
  for (size_t visit = 0; visit < labels.route.size(); ++visit) {
    const auto before = directions.before(visit);
    labels.reads[visit].insert(labels.reads[visit].end(), before.begin(), before.end());
  }
  return {};
}

/// Rows less their mean, which is returned.
std::vector<double> centre(std::vector<double>& rows, size_t count) {
  const size_t width = rows.size() / count;
  std::vector<double> middle(width);
  for (size_t i = 0; i < rows.size(); ++i) middle[i % width] += rows[i] / static_cast<double>(count);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] -= middle[i % width];
  return middle;
}

/// How well a strength foretells samples: the log probabilities [samples, classes] that the other folds give them.
struct Foretold {
  double loss = 0;
  std::vector<double> logs;
};

Foretold foretell(std::span<const double> products, std::span<const uint8_t> labels, double strength) {
  const size_t count = labels.size();
  Foretold out{.logs = std::vector<double>(count * kClasses)};
  for (size_t fold = 0; fold < kFolds; ++fold) {
    std::vector<size_t> used;
    for (size_t i = 0; i < count; ++i) {
      if (i % kFolds != fold) used.push_back(i);
    }
    const Logistic fit = fit_logistic(products, labels, kClasses, used, strength);
    for (size_t i = fold; i < count; i += kFolds) {
      const std::vector<double> logs = log_probabilities(fit, products.subspan(i * count, count));
      std::ranges::copy(logs, out.logs.begin() + static_cast<std::ptrdiff_t>(i * kClasses));
      out.loss -= logs[labels[i]];
    }
  }
  return out;
}

/// By how much leaving out or repeating exceeds running once.
double margin(std::span<const double> logs) {
  return std::max(logs[0], logs[2]) - logs[1];
}

/// Adds one layer's functions to the router, and what is foretold of each text's margin to `margins`.
void add_layer(const PathLabels& labels, size_t visit, PathFit& out, std::vector<double>& margins) {
  const size_t count = labels.counts.size();
  std::vector<uint8_t> classes;
  for (const LayerCounts& counts : labels.counts) classes.push_back(counts[visit]);
  std::vector<double> reads = labels.reads[visit];
  const std::vector<double> middle = centre(reads, count);
  const std::vector<double> products = products_of(reads, count);
  double trace = 0;
  for (size_t i = 0; i < count; ++i) trace += products[i * count + i] / static_cast<double>(count);
  // By how often each class comes alone, to begin with.
  std::vector<double> nothing(products.size());
  double strength = 0;
  Foretold best = foretell(nothing, classes, 1);
  for (const double factor : {0.01, 0.03, 0.1, 0.3, 1.0, 3.0}) {
    if (trace <= 0) break;
    Foretold other = foretell(products, classes, factor * trace);
    if (other.loss >= best.loss) continue;
    best = std::move(other);
    strength = factor * trace;
  }
  for (size_t i = 0; i < count; ++i) margins.push_back(margin(std::span(best.logs).subspan(i * kClasses, kClasses)));
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  const Logistic fit = fit_logistic(strength > 0 ? products : nothing, classes, kClasses, all, std::max(strength, 1.0));
  const size_t width = middle.size();
  for (size_t c = 0; c < kClasses; ++c) {
    std::vector<double> weights(width);
    for (size_t i = 0; i < reads.size() && strength > 0; ++i)
      weights[i % width] += fit.duals[i / width * kClasses + c] * reads[i];
    double offset = fit.offsets[c];
    for (size_t i = 0; i < width; ++i) offset -= weights[i] * middle[i];
    out.router.weights.insert(out.router.weights.end(), weights.begin(), weights.end());
    out.router.offsets.push_back(offset);
  }
  out.informed += strength > 0 ? 1 : 0;
}

/// The one route of about so many visits that does to layers what the labels do most often.
std::vector<recipe::Visit> fixed_route(const PathLabels& labels, double visits) {
  const auto layers = static_cast<int64_t>(labels.route.size());
  const int64_t gone = layers - std::llround(visits);
  const uint8_t count = gone > 0 ? 0 : 2;
  std::vector<std::pair<int64_t, size_t>> order;  // the most often so labelled first
  for (size_t layer = 0; layer < labels.route.size(); ++layer) {
    order.emplace_back(
        -std::ranges::count_if(labels.counts, [&](const LayerCounts& counts) { return counts[layer] == count; }),
        layer);
  }
  std::ranges::sort(order);
  LayerCounts counts(labels.route.size(), 1);
  for (size_t i = 0; i < static_cast<size_t>(std::min(std::abs(gone), layers - 1)); ++i)
    counts[order[i].second] = count;
  return visits_of(counts, labels.route);
}

void add(PathQuality& sum, size_t visits, const ChainScore& score, double share) {
  sum.visits += static_cast<double>(visits) * share;
  sum.right += score.accuracy * share;
  sum.nll += score.nll * share;
}

/// What a router decides for a text; the whole route where there is nothing to read.
Result<std::vector<recipe::Visit>> decide(run::RouterReader& reader, run::Runner& runner, const ScoredSequence& text) {
  if (read_length(text) < 1) return runner.options().plan.route;
  OpenSequence sequence(runner);
  if (!sequence.id()) return std::unexpected(sequence.id().error());
  reader.begin(*sequence.id(), read_length(text));
  LAMINA_CHECK_OK(sequence.read(std::span(text.tokens).first(static_cast<size_t>(read_length(text))), reader));
  LAMINA_ASSIGN(run::Route route, reader.decide(runner, *sequence.id()));
  return std::move(route.visits);
}

}  // namespace

Result<PathLabels> label_paths(run::Runner& runner, core::ThreadPool& pool, std::span<const ScoredSequence> texts,
                               const PathSearch& search, const WindowProgress& progress) {
  const std::vector<recipe::Visit>& route = runner.options().plan.route;
  LAMINA_CHECK_OK(check_router_route(route));
  PathLabels labels{.route = route, .hidden = runner.model().hidden(), .windows = search.windows};
  labels.reads.resize(route.size());
  Examiner examiner(runner, pool, search);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (progress && !progress(static_cast<int64_t>(i), std::ssize(texts)))
      return fail(ErrorCode::kCancelled, "router", "cancelled");
    LAMINA_CHECK_OK(examiner.begin(texts[i]));
    RouteSearchOptions options = search.search;
    options.seed += i;
    const auto measure = [&](const LayerCounts& counts) { return examiner.score(visits_of(counts, route)); };
    LAMINA_ASSIGN(const RouteSearch found, search_routes(static_cast<int>(route.size()), options, measure));
    const Chain* path = shortest_right(found);
    if (path == nullptr || read_length(texts[i]) < 1) {
      ++labels.without;
      continue;
    }
    labels.counts.push_back(path->counts);
    LAMINA_CHECK_OK(add_reads(runner, texts[i], labels));
  }
  return labels;
}

PathFit fit_paths(const PathLabels& labels, double changed) {
  PathFit out{.router = {.kind = run::Router::Kind::kRepeat, .hidden = labels.hidden, .windows = labels.windows}};
  std::vector<double> margins;
  const double decisions = static_cast<double>(labels.counts.size() * labels.route.size());
  for (size_t visit = 0; visit < labels.route.size(); ++visit) {
    out.router.layers.push_back(labels.route[visit].layer);
    for (const LayerCounts& counts : labels.counts) {
      out.skipped += counts[visit] == 0 ? 1 / decisions : 0;
      out.repeated += counts[visit] == 2 ? 1 / decisions : 0;
    }
    add_layer(labels, visit, out, margins);
  }
  std::ranges::sort(margins, std::greater());
  const double share = changed < 0 ? out.skipped + out.repeated : changed;
  const auto above = static_cast<size_t>(std::llround(share * decisions));
  out.router.threshold = above < margins.size() ? margins[above] : margins.back() - 1;
  return out;
}

Result<PathTest> test_paths(const run::Router& router, const PathLabels& labels, run::Runner& runner,
                            core::ThreadPool& pool, std::span<const ScoredSequence> texts, const PathSearch& search,
                            const WindowProgress& progress) {
  LAMINA_ASSIGN(run::RouterReader reader, run::RouterReader::create(router, runner));
  PathTest out{.texts = std::ssize(texts)};
  std::vector<std::vector<recipe::Visit>> decided;
  std::set<std::string> routes;
  double visits = 0;
  for (const ScoredSequence& text : texts) {
    LAMINA_ASSIGN(std::vector<recipe::Visit> route, decide(reader, runner, text));
    routes.insert(recipe::route_text(route));
    visits += static_cast<double>(route.size()) / static_cast<double>(texts.size());
    decided.push_back(std::move(route));
  }
  const std::vector<recipe::Visit> fixed = fixed_route(labels, visits);
  out.routes = std::ssize(routes);
  const double share = 1 / static_cast<double>(texts.size());
  Examiner examiner(runner, pool, search);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (progress && !progress(static_cast<int64_t>(i), std::ssize(texts)))
      return fail(ErrorCode::kCancelled, "router", "cancelled");
    LAMINA_CHECK_OK(examiner.begin(texts[i]));
    add(out.whole, labels.route.size(), examiner.whole(), share);
    LAMINA_ASSIGN(const ChainScore routed, examiner.score(decided[i]));
    add(out.router, decided[i].size(), routed, share);
    LAMINA_ASSIGN(const ChainScore fixed_score, examiner.score(fixed));
    add(out.fixed, fixed.size(), fixed_score, share);
  }
  return out;
}

}  // namespace lamina::eval

#include "eval/router_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "eval/directions.h"
#include "eval/metrics.h"
#include "eval/regression.h"

namespace lamina::eval {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

double negative_log_probability(std::span<const float> logits, int32_t token) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - most);
  return most + std::log(sum) - double{logits[static_cast<size_t>(token)]};
}

/// One window: its prompt is computed once, and what follows by several routes.
class Window {
 public:
  Window(run::Runner& runner, core::ThreadPool& pool, std::span<const int32_t> tokens, int64_t prompt)
      : runner_(runner), pool_(pool), tokens_(tokens), prompt_(prompt) {}
  ~Window() {
    if (sequence_ != cache::SequenceId{}) runner_.close(sequence_);
  }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  Status open() {
    LAMINA_ASSIGN(sequence_, runner_.open());
    return {};
  }

  Status read(run::BorderHook& hook) {
    runner_.set_hook(&hook);
    const Status status = feed(sequence_, 0, prompt_, {}, nullptr);
    runner_.set_hook(nullptr);
    LAMINA_CHECK_OK(status);
    return logits_of(nullptr, whole_);
  }

  /// Divergence and loss of a route, summed over the rows of what follows.
  Result<RouteQuality> measure(const run::Route& route) {
    LAMINA_CHECK_OK(logits_of(&route, other_));
    const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
    const int64_t rows = rest();
    std::vector<double> kl(static_cast<size_t>(rows));
    std::vector<double> loss(static_cast<size_t>(rows));
    std::vector<Status> status(static_cast<size_t>(rows));
    pool_.run([&](int index, int threads) {
      const core::Range range = core::split_range(rows, 1, index, threads);
      for (auto r = static_cast<size_t>(range.begin); r < static_cast<size_t>(range.end); ++r) {
        const auto own = std::span<const float>(whole_).subspan(r * vocabulary, vocabulary);
        const auto other = std::span<const float>(other_).subspan(r * vocabulary, vocabulary);
        const auto found = kl_divergence(own, other);
        if (!found) {
          status[r] = std::unexpected(found.error());
          continue;
        }
        kl[r] = *found;
        if (r + 1 == static_cast<size_t>(rows)) continue;  // what comes next is of another window
        const int32_t next = tokens_[static_cast<size_t>(prompt_) + r + 1];
        loss[r] = negative_log_probability(other, next) - negative_log_probability(own, next);
      }
    });
    for (const Status& one : status) LAMINA_CHECK_OK(one);
    return RouteQuality{
        .visits = static_cast<double>(route.visits.size()),
        .kl = std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(rows),
        .log_ppl_ratio = std::accumulate(loss.begin(), loss.end(), 0.0) / static_cast<double>(rows - 1)};
  }

  cache::SequenceId sequence() const { return sequence_; }

 private:
  int64_t rest() const { return std::ssize(tokens_) - prompt_; }

  Status feed(cache::SequenceId sequence, int64_t begin, int64_t end, std::span<float> logits,
              const run::Route* route) {
    const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
    const int64_t most = runner_.options().max_rows;
    for (int64_t at = begin; at < end; at += most) {
      std::vector<run::BatchRow> rows;
      for (int64_t i = at; i < std::min(end, at + most); ++i)
        rows.push_back(
            {.token = tokens_[static_cast<size_t>(i)], .sequence = sequence, .wants_logits = !logits.empty()});
      const auto out = logits.empty()
                           ? logits
                           : logits.subspan(static_cast<size_t>(at - begin) * vocabulary, rows.size() * vocabulary);
      LAMINA_CHECK_OK(runner_.step(rows, out, route));
    }
    return {};
  }

  Status logits_of(const run::Route* route, std::vector<float>& logits) {
    logits.resize(static_cast<size_t>(rest()) * static_cast<size_t>(runner_.model().vocabulary()));
    LAMINA_ASSIGN(const cache::SequenceId own, runner_.fork(sequence_, prompt_));
    const Status status = feed(own, prompt_, std::ssize(tokens_), logits, route);
    runner_.close(own);
    return status;
  }

  run::Runner& runner_;
  core::ThreadPool& pool_;
  std::span<const int32_t> tokens_;
  int64_t prompt_;
  cache::SequenceId sequence_{};
  std::vector<float> whole_;
  std::vector<float> other_;
};

Status check_windows(const run::Runner& runner, std::span<const int32_t> tokens, const RouterWindows& windows) {
  if (std::ssize(tokens) < windows.size()) {
    return fail(ErrorCode::kInvalid, "calibration text", "{} tokens; at least one window of {} expected", tokens.size(),
                windows.size());
  }
  return check_router_route(runner.options().plan.route);
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double squares_of(std::span<const double> values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

/// One strength of the regression: the duals, and the errors of each window foretold by the others.
struct Ridge {
  std::vector<double> duals;
  std::vector<double> errors;
};

Ridge solve(std::vector<double> products, std::span<const double> costs, double strength) {
  const size_t count = costs.size();
  for (size_t i = 0; i < count; ++i) products[i * count + i] += strength;
  const std::vector<double> inverted = inverse(std::move(products), count);
  Ridge ridge{.duals = std::vector<double>(count), .errors = std::vector<double>(count)};
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < count; ++k) ridge.duals[i] += inverted[i * count + k] * costs[k];
    // The usual identity of linear smoothers; the mean, which is not held back, takes 1 / count of each window.
    ridge.errors[i] = strength * ridge.duals[i] / (strength * inverted[i * count + i] - 1 / static_cast<double>(count));
  }
  return ridge;
}

}  // namespace

Status check_router_route(std::span<const recipe::Visit> route) {
  for (size_t v = 0; v < route.size(); ++v) {
    if (!route[v].beside && (v == 0 || route[v].layer > route[v - 1].layer)) continue;
    return fail(ErrorCode::kUnsupported, "router",
                "layer {} is visited twice, before an earlier one, or beside another; a plain route expected",
                route[v].layer);
  }
  if (route.size() < 3)
    return fail(ErrorCode::kUnsupported, "router", "a route of {} layers; at least 3 expected", route.size());
  return {};
}

Result<std::vector<LayerCosts>> measure_costs(run::Runner& runner, core::ThreadPool& pool,
                                              std::span<const int32_t> tokens, const RouterWindows& windows,
                                              const WindowProgress& progress) {
  LAMINA_CHECK_OK(check_windows(runner, tokens, windows));
  const std::vector<recipe::Visit>& route = runner.options().plan.route;
  const int64_t hidden = runner.model().hidden();
  std::vector<LayerCosts> out;
  std::vector<run::Route> routes;
  for (size_t v = 1; v + 1 < route.size(); ++v) {
    out.push_back({.layer = route[v].layer});
    std::vector<recipe::Visit> visits = route;
    visits.erase(visits.begin() + static_cast<std::ptrdiff_t>(v));
    LAMINA_ASSIGN(run::Route without, runner.plan_route(std::move(visits)));
    routes.push_back(std::move(without));
  }
  const int64_t total = std::ssize(tokens) / windows.size();
  for (int64_t w = 0; w < total; ++w) {
    if (progress && !progress(w, total)) return fail(ErrorCode::kCancelled, "router", "cancelled");
    DirectionReader directions({.visits = std::ssize(route), .hidden = hidden, .length = windows.prompt});
    Window window(runner, pool,
                  tokens.subspan(static_cast<size_t>(w * windows.size()), static_cast<size_t>(windows.size())),
                  windows.prompt);
    LAMINA_CHECK_OK(window.open());
    LAMINA_CHECK_OK(window.read(directions));
    for (size_t n = 0; n < routes.size(); ++n) {
      LAMINA_ASSIGN(const RouteQuality quality, window.measure(routes[n]));
      const auto reads = directions.before(n + 1);
      out[n].reads.insert(out[n].reads.end(), reads.begin(), reads.end());
      out[n].costs.push_back(std::log(std::max(quality.kl, 1e-9)));
    }
  }
  return out;
}

LayerFit fit_layer(const LayerCosts& costs, int64_t hidden) {
  const size_t count = costs.costs.size();
  const auto width = static_cast<size_t>(hidden);
  const double mean = mean_of(costs.costs);
  std::vector<double> centre(width);
  for (size_t i = 0; i < costs.reads.size(); ++i) centre[i % width] += costs.reads[i] / static_cast<double>(count);
  std::vector<double> reads = costs.reads;
  for (size_t i = 0; i < reads.size(); ++i) reads[i] -= centre[i % width];
  std::vector<double> targets = costs.costs;
  for (double& target : targets) target -= mean;
  const std::vector<double> products = products_of(reads, count);
  double trace = 0;
  for (size_t i = 0; i < count; ++i) trace += products[i * count + i];
  // By the mean alone, to begin with.
  Ridge best{.duals = std::vector<double>(count), .errors = targets};
  const double others = static_cast<double>(count) / std::max(1.0, static_cast<double>(count) - 1);
  for (double& error : best.errors) error *= others;
  const double by_mean = squares_of(best.errors);
  for (const double factor : {0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0}) {
    if (trace <= 0) break;
    Ridge ridge = solve(products, targets, factor * trace / static_cast<double>(count));
    if (squares_of(ridge.errors) < squares_of(best.errors)) best = std::move(ridge);
  }
  LayerFit fit{.weights = std::vector<double>(width), .offset = mean};
  for (size_t i = 0; i < reads.size(); ++i) fit.weights[i % width] += best.duals[i / width] * reads[i];
  for (size_t i = 0; i < width; ++i) fit.offset -= fit.weights[i] * centre[i];
  fit.explained = by_mean > 0 ? 1 - squares_of(best.errors) / by_mean : 0;
  for (size_t i = 0; i < count; ++i) fit.foretold.push_back(costs.costs[i] - best.errors[i]);
  return fit;
}

RouterFit fit_router(std::span<const LayerCosts> layers, int64_t hidden, int64_t visits, double share) {
  RouterFit out;
  out.router.hidden = hidden;
  std::vector<double> foretold;
  for (const LayerCosts& one : layers) {
    const LayerFit fit = fit_layer(one, hidden);
    out.router.layers.push_back(one.layer);
    out.router.weights.insert(out.router.weights.end(), fit.weights.begin(), fit.weights.end());
    out.router.offsets.push_back(fit.offset);
    foretold.insert(foretold.end(), fit.foretold.begin(), fit.foretold.end());
    out.informed += fit.explained > 0 ? 1 : 0;
  }
  std::ranges::sort(foretold);
  const auto windows = static_cast<double>(layers.front().costs.size());
  const auto left_out = static_cast<size_t>(std::llround(share * static_cast<double>(visits) * windows));
  out.router.threshold = left_out < foretold.size() ? foretold[left_out] : foretold.back() + 1;
  return out;
}

Result<RouterTest> test_router(const run::Router& router, std::span<const LayerCosts> layers, run::Runner& runner,
                               core::ThreadPool& pool, std::span<const int32_t> tokens, const RouterWindows& windows,
                               const WindowProgress& progress) {
  LAMINA_CHECK_OK(check_windows(runner, tokens, windows));
  LAMINA_ASSIGN(run::RouterReader reader, run::RouterReader::create(router, runner));
  RouterTest out;
  out.windows = std::ssize(tokens) / windows.size();
  const auto count = static_cast<double>(out.windows);
  const auto add = [&](RouteQuality& sum, const RouteQuality& one) {
    sum.visits += one.visits / count;
    sum.kl += one.kl / count;
    sum.log_ppl_ratio += one.log_ppl_ratio / count;
  };
  std::set<std::string> routes;
  // The fixed route takes its length from the decided ones, so it comes in a second round.
  for (const bool decided : {true, false}) {
    std::vector<recipe::Visit> fixed = runner.options().plan.route;
    if (!decided) {
      std::vector<std::pair<double, int>> order;
      for (const LayerCosts& one : layers) order.emplace_back(mean_of(one.costs), one.layer);
      std::ranges::sort(order);
      const auto gone = std::llround(static_cast<double>(fixed.size()) - out.router.visits);
      for (const auto& [cost, layer] : std::span(order).first(std::min(static_cast<size_t>(gone), order.size())))
        std::erase_if(fixed, [&](const recipe::Visit& visit) { return visit.layer == layer; });
    }
    for (int64_t w = 0; w < out.windows; ++w) {
      if (progress && !progress(w + (decided ? 0 : out.windows), 2 * out.windows))
        return fail(ErrorCode::kCancelled, "router", "cancelled");
      Window window(runner, pool,
                    tokens.subspan(static_cast<size_t>(w * windows.size()), static_cast<size_t>(windows.size())),
                    windows.prompt);
      LAMINA_CHECK_OK(window.open());
      reader.begin(window.sequence(), windows.prompt);
      LAMINA_CHECK_OK(window.read(reader));
      LAMINA_ASSIGN(run::Route route, reader.decide(runner, window.sequence()));
      if (decided) {
        routes.insert(recipe::route_text(route.visits));
      } else {
        LAMINA_ASSIGN(route, runner.plan_route(fixed));
      }
      LAMINA_ASSIGN(const RouteQuality quality, window.measure(route));
      add(decided ? out.router : out.fixed, quality);
    }
  }
  out.routes = std::ssize(routes);
  return out;
}

}  // namespace lamina::eval

#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "run/router.h"

namespace lamina::eval {

/// How a text is cut: windows of a prompt, which all layers read, and of what follows, which some may not write.
struct RouterWindows {
  int64_t prompt = 96;
  int64_t rest = 32;

  int64_t size() const { return prompt + rest; }
};

/// What leaving one layer out has cost, window by window.
struct LayerCosts {
  int layer = 0;
  std::vector<double> reads{};  ///< [windows, hidden]: mean direction (run::add_direction) of what it reads of prompts
  std::vector<double> costs{};  ///< [windows]: logarithm of the divergence (nats) of what follows
};

/// Told how many of the windows are done; returning false cancels.
using WindowProgress = std::function<bool(int64_t done, int64_t total)>;

/// kUnsupported unless the route visits each layer at most once, in rising order, none beside another, and at least 3.
core::Status check_router_route(std::span<const recipe::Visit> route);

/// Reads each window's prompt with all layers and what follows without each of them, but for the first and the last.
/// The runner needs two sequences of a window. kInvalid: no whole window; kUnsupported: as above.
core::Result<std::vector<LayerCosts>> measure_costs(run::Runner& runner, core::ThreadPool& pool,
                                                    std::span<const int32_t> tokens, const RouterWindows& windows,
                                                    const WindowProgress& progress);

/// A linear function fitted to one layer's costs.
struct LayerFit {
  std::vector<double> weights;  ///< [hidden]; zeros where the mean foretells windows that were left out no worse
  double offset = 0;
  double explained = 0;            ///< share of the variance, each window foretold by the others
  std::vector<double> foretold{};  ///< [windows], each by the others
};

/// Ridge regression in closed form; its strength is that with the least error of windows foretold by the others.
LayerFit fit_layer(const LayerCosts& costs, int64_t hidden);

struct RouterFit {
  run::Router router;  ///< without its model's fingerprint
  int informed = 0;    ///< layers where what they read foretells more than the mean
};

/// A router that leaves out that share of a route of so many visits, on average over the windows.
RouterFit fit_router(std::span<const LayerCosts> layers, int64_t hidden, int64_t visits, double share);

/// What follows the prompts under routes, against the whole route; means over rows.
struct RouteQuality {
  double visits = 0;
  double kl = 0;             ///< nats
  double log_ppl_ratio = 0;  ///< ln(PPL / PPL of the whole route)
};

/// The router on windows, and beside it the one route with its mean number of visits that costs least on average over
/// `layers`.
struct RouterTest {
  RouteQuality router;
  RouteQuality fixed;
  int64_t windows = 0;
  int64_t routes = 0;  ///< different ones
};
core::Result<RouterTest> test_router(const run::Router& router, std::span<const LayerCosts> layers, run::Runner& runner,
                                     core::ThreadPool& pool, std::span<const int32_t> tokens,
                                     const RouterWindows& windows, const WindowProgress& progress);

}  // namespace lamina::eval

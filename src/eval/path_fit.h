#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/route_search.h"
#include "eval/router_fit.h"
#include "eval/scoring.h"

namespace lamina::eval {

/// How paths are searched for a text, whose targets a path must get right.
struct PathSearch {
  RouteSearchOptions search{.simulations = 50};
  bool exact = false;   ///< each target must be the likeliest token; else the loss counts:
  double slack = 0.02;  ///< it may exceed the whole route's by this share
  int64_t windows = 8;  ///< of prompts, as routers read them
};

/// What was found for texts.
struct PathLabels {
  std::vector<recipe::Visit> route{};
  int64_t hidden = 0;
  int64_t windows = 0;
  std::vector<LayerCounts> counts{};         ///< [texts]: the shortest path by which each is right
  std::vector<std::vector<double>> reads{};  ///< [visits]: [texts, windows, hidden], what the layer reads of prompts
  int64_t without = 0;                       ///< texts left out: no path gets them right, or they have no prompt
};

/// Searches a path for each text (search_routes), and reads its prompt but for the last token with all layers. The
/// runner must have every visit of its route once more as a spare one, and room for one sequence.
/// kInvalid: a text's targets cannot be scored; kUnsupported: check_router_route.
core::Result<PathLabels> label_paths(run::Runner& runner, core::ThreadPool& pool, std::span<const ScoredSequence> texts,
                                     const PathSearch& search, const WindowProgress& progress);

struct PathFit {
  run::Router router;  ///< without its model's fingerprint
  int informed = 0;    ///< layers where what they read foretells more than how often each class comes
  double skipped = 0;  ///< share of the labels
  double repeated = 0;
};

/// Logistic regression, layer by layer; its strength, and whether what is read foretells anything, by quarters of the
/// texts that are foretold by the rest. The threshold is that with which `changed` of these decisions (less than 0: as
/// many as in the labels) are to leave out or to repeat.
PathFit fit_paths(const PathLabels& labels, double changed);

/// Means over texts.
struct PathQuality {
  double visits = 0;
  double right = 0;  ///< share
  double nll = 0;    ///< nats per target
};

/// The whole route, the router, and the one route of its mean number of visits that leaves out (or repeats) the layers
/// of which the labels do so most often.
struct PathTest {
  PathQuality whole{};
  PathQuality router{};
  PathQuality fixed{};
  int64_t texts = 0;
  int64_t routes = 0;  ///< different ones
};
core::Result<PathTest> test_paths(const run::Router& router, const PathLabels& labels, run::Runner& runner,
                                  core::ThreadPool& pool, std::span<const ScoredSequence> texts,
                                  const PathSearch& search, const WindowProgress& progress);

}  // namespace lamina::eval

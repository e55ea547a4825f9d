#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/result.h"
#include "recipe/plan.h"

namespace lamina::eval {

/// How often each layer of a model runs, in the order of the layers: not at all, once, or twice in a row.
using LayerCounts = std::vector<uint8_t>;

/// The visits of such a chain, of the layers as `route` (each once) has them.
std::vector<recipe::Visit> visits_of(const LayerCounts& counts, const std::vector<recipe::Visit>& route);

struct ChainScore {
  double accuracy = 0;  ///< share of the items that are right
  double nll = 0;       ///< nats per token of the answers
};

/// Measures a chain on the items that are searched on.
using ScoreChain = std::function<core::Result<ChainScore>(const LayerCounts& counts)>;

struct RouteSearchOptions {
  int simulations = 100;
  double length_price = 0.1;  ///< accuracy that a chain of all layers costs
  double explore = 0.5;       ///< weight of what is little known against what is good
  uint64_t seed = 0;
};

struct Chain {
  LayerCounts counts;
  ChainScore score;

  int64_t length() const;
};

/// The chains that were measured, each once, the whole route first.
struct RouteSearch {
  std::vector<Chain> chains;

  /// That of the best accuracy less the price of its length; among equals, the one of the lowest nll.
  const Chain& best(double length_price) const;
  /// The shortest of those that are as accurate as the whole route; among equals, the one of the lowest nll.
  const Chain& shortest() const;
};

/// Searches chains by Monte Carlo tree search. A move leaves out a layer or two neighbours, or runs a layer twice; a
/// node tries as many moves as the root of its visits. Li et al. 2025, Skip a Layer or Loop it? (arXiv 2507.07996).
core::Result<RouteSearch> search_routes(int layers, const RouteSearchOptions& options, const ScoreChain& score);

}  // namespace lamina::eval

#include "eval/route_search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

#include "run/random.h"

namespace lamina::eval {

using core::Result;

namespace {

/// One change of a chain: some neighbours get another count.
struct Move {
  int layer = 0;
  int layers = 1;
  uint8_t count = 0;
};

struct Node {
  LayerCounts counts;
  std::vector<Move> untried;
  std::vector<size_t> children;
  double visits = 0;
  double reward = 0;  ///< sum over the visits

  double mean() const { return visits > 0 ? reward / visits : 0; }
};

class Searcher {
 public:
  Searcher(int layers, const RouteSearchOptions& options, const ScoreChain& score) : options_(options), score_(score) {
    nodes_.push_back(make_node(LayerCounts(static_cast<size_t>(layers), 1)));
  }

  Result<RouteSearch> run() {
    LAMINA_CHECK_OK(measure(nodes_[0].counts));
    for (int i = 0; i < options_.simulations; ++i) LAMINA_CHECK_OK(simulate());
    return std::move(found_);
  }

 private:
  Node make_node(LayerCounts counts) {
    Node node;
    const int layers = static_cast<int>(counts.size());
    for (int i = 0; i < layers; ++i) {
      if (counts[static_cast<size_t>(i)] != 1) continue;
      node.untried.push_back({.layer = i, .layers = 1, .count = 0});
      node.untried.push_back({.layer = i, .layers = 1, .count = 2});
      if (i + 1 < layers && counts[static_cast<size_t>(i) + 1] == 1)
        node.untried.push_back({.layer = i, .layers = 2, .count = 0});
    }
    // In an order that depends on the seed alone.
    for (size_t i = node.untried.size(); i > 1; --i) {
      std::swap(node.untried[i - 1], node.untried[run::random_bits(options_.seed, draws_++) % i]);
    }
    node.counts = std::move(counts);
    return node;
  }

  /// Goes down to a node that may try another move, tries it, and tells all nodes on the way.
  core::Status simulate() {
    std::vector<size_t> path{0};
    while (!may_grow(nodes_[path.back()]) && !nodes_[path.back()].children.empty()) path.push_back(choose(path.back()));
    if (!nodes_[path.back()].untried.empty()) path.push_back(grow(path.back()));
    LAMINA_ASSIGN(const ChainScore score, measure(nodes_[path.back()].counts));
    const LayerCounts& counts = nodes_[path.back()].counts;
    const double length = std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(counts.size());
    for (const size_t index : path) {
      nodes_[index].visits += 1;
      nodes_[index].reward += score.accuracy - options_.length_price * length;
    }
    return {};
  }

  static bool may_grow(const Node& node) {
    return !node.untried.empty() && static_cast<double>(node.children.size()) <= std::sqrt(node.visits);
  }

  size_t grow(size_t parent) {
    const Move move = nodes_[parent].untried.back();
    nodes_[parent].untried.pop_back();
    LayerCounts counts = nodes_[parent].counts;
    std::fill_n(counts.begin() + move.layer, move.layers, move.count);
    nodes_.push_back(make_node(std::move(counts)));
    nodes_[parent].children.push_back(nodes_.size() - 1);
    return nodes_.size() - 1;
  }

  size_t choose(size_t parent) const {
    const double log_visits = std::log(std::max(1.0, nodes_[parent].visits));
    return *std::ranges::max_element(nodes_[parent].children, {}, [&](size_t child) {
      const Node& node = nodes_[child];
      return node.mean() + options_.explore * std::sqrt(log_visits / std::max(1.0, node.visits));
    });
  }

  /// A chain without layers gives nothing: it is worth as little as one that is always wrong.
  Result<ChainScore> measure(const LayerCounts& counts) {
    const std::string key(counts.begin(), counts.end());
    if (const auto known = scores_.find(key); known != scores_.end()) return known->second;
    ChainScore score;
    if (std::ranges::any_of(counts, [](uint8_t count) { return count > 0; })) {
      LAMINA_ASSIGN(score, score_(counts));
      found_.chains.push_back({.counts = counts, .score = score});
    }
    scores_[key] = score;
    return score;
  }

  RouteSearchOptions options_;
  const ScoreChain& score_;
  std::vector<Node> nodes_;
  std::map<std::string, ChainScore> scores_;  ///< by the counts
  RouteSearch found_;
  uint64_t draws_ = 0;
};

}  // namespace

std::vector<recipe::Visit> visits_of(const LayerCounts& counts, const std::vector<recipe::Visit>& route) {
  std::vector<recipe::Visit> visits;
  for (size_t i = 0; i < counts.size(); ++i) visits.insert(visits.end(), counts[i], route[i]);
  return visits;
}

int64_t Chain::length() const {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

const Chain& RouteSearch::best(double length_price) const {
  return *std::ranges::max_element(chains, {}, [&](const Chain& chain) {
    const double share = static_cast<double>(chain.length()) / static_cast<double>(chain.counts.size());
    return std::pair(chain.score.accuracy - length_price * share, -chain.score.nll);
  });
}

const Chain& RouteSearch::shortest() const {
  const double wanted = chains.front().score.accuracy;
  return *std::ranges::min_element(chains, {}, [&](const Chain& chain) {
    return std::tuple(chain.score.accuracy < wanted, chain.length(), chain.score.nll);
  });
}

Result<RouteSearch> search_routes(int layers, const RouteSearchOptions& options, const ScoreChain& score) {
  return Searcher(layers, options, score).run();
}

}  // namespace lamina::eval

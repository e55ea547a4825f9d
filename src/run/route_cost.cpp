#include "run/route_cost.h"

#include <algorithm>
#include <cmath>

namespace lamina::run {
namespace {

/// Sums over the matrices of a route.
class Sum {
 public:
  RouteCost cost;

  void add(const layers::Linear& linear, WeightCounts& counts) {
    for (const layers::Linear* one : {&linear, linear.first(), linear.beside()}) {
      if (one != nullptr) add_bytes(*one);
    }
    count(linear, counts);
  }

  void add(const layers::Experts& experts) {
    ExpertCost part{.count = experts.count, .used = experts.used};
    WeightCounts all;
    for (const layers::Linear* linear : experts.linears) {
      part.bytes += linear->row_bytes();
      count(*linear, all);
    }
    cost.layers.int8 += all.int8 / part.count * part.used;
    cost.layers.float32 += all.float32 / part.count * part.used;
    cost.experts.push_back(part);
  }

 private:
  /// A matrix of whose columns each token reads some is as experts are.
  void add_bytes(const layers::Linear& linear) {
    const kernels::WeightLayout& layout = linear.layout();
    if (!layout.by_input) {
      cost.fixed_bytes += linear.bytes();
      return;
    }
    const auto same = [&](const ExpertCost& part) { return part.count == layout.inputs && part.used == layout.kept; };
    auto part = std::ranges::find_if(cost.experts, same);
    if (part == cost.experts.end()) part = cost.experts.insert(part, {.count = layout.inputs, .used = layout.kept});
    part->bytes += linear.bytes();
  }

  void count(const layers::Linear& linear, WeightCounts& counts) {
    (linear.multiplies_integers() ? counts.int8 : counts.float32) += linear.multiplications();
    for (const layers::Linear* other : {linear.first(), linear.beside()}) {
      if (other != nullptr) count(*other, counts);
    }
    if (linear.bytes() <= largest_) return;
    largest_ = linear.bytes();
    cost.isa = core::isa_name(linear.layout().variant->isa);
  }

  int64_t largest_ = 0;
};

void add_position(RouteCost& cost, int64_t window, int64_t bytes) {
  if (window == 0) {
    cost.position_bytes += bytes;
    return;
  }
  auto found = std::ranges::find(cost.windows, window, &WindowCost::window);
  if (found == cost.windows.end()) found = cost.windows.insert(found, {.window = window});
  found->position_bytes += bytes;
}

}  // namespace

bool mixes_tokens(std::string_view role) {
  return role == "attn" || role == "mixer";
}

bool runs(const recipe::Visit& visit, const layers::Layer::Part& part) {
  if (mixes_tokens(part.role)) return visit.attention;
  if (part.role == "mlp") return visit.mlp;
  if (part.role == "cross") return visit.cross;
  return true;
}

double RouteCost::cache_bytes(double positions) const {
  double bytes = positions * static_cast<double>(position_bytes);
  for (const WindowCost& part : windows)
    bytes += std::min(positions, static_cast<double>(part.window)) * static_cast<double>(part.position_bytes);
  return bytes;
}

double RouteCost::weight_bytes(double tokens) const {
  auto bytes = static_cast<double>(fixed_bytes);
  for (const ExpertCost& part : experts) {
    const double left_out = 1 - static_cast<double>(part.used) / static_cast<double>(part.count);
    bytes += static_cast<double>(part.bytes) * (1 - std::pow(left_out, tokens));
  }
  return bytes;
}

RouteCost route_cost(const Runner& runner) {
  Sum sum;
  const models::Model& model = runner.model();
  for (const recipe::Visit& visit : runner.options().plan.route) {
    for (const layers::Layer::Part& part : model.layers()[static_cast<size_t>(visit.layer)].parts) {
      if (!runs(visit, part)) continue;
      const layers::Experts experts = part.sublayer->experts();
      if (experts.count > 0) sum.add(experts);
      for (const layers::Linear* linear : part.sublayer->linears()) {
        if (std::ranges::find(experts.linears, linear) == experts.linears.end()) sum.add(*linear, sum.cost.layers);
      }
    }
  }
  for (const layers::Linear* linear : model.head().linears()) sum.add(*linear, sum.cost.head);
  const auto visits = runner.cache_visits();  // the route's, before the spare ones
  for (const cache::VisitShape& visit : visits.first(std::min(visits.size(), runner.options().plan.route.size()))) {
    add_position(sum.cost, visit.window, visit.position_bytes());
    sum.cost.state_bytes += visit.state_floats * static_cast<int64_t>(sizeof(float));
  }
  return sum.cost;
}

}  // namespace lamina::run

#include "run/route_cost.h"

#include <algorithm>

namespace lamina::run {
namespace {

/// Sums over the matrices of a route.
struct Sum {
  RouteCost cost;
  int64_t largest = 0;

  void add(const layers::Linear& linear, WeightCounts& counts) {
    cost.weight_bytes += linear.bytes();
    (linear.multiplies_integers() ? counts.int8 : counts.float32) += linear.outputs() * linear.inputs();
    if (linear.bytes() <= largest) return;
    largest = linear.bytes();
    cost.isa = core::isa_name(linear.layout().variant->isa);
  }
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

RouteCost route_cost(const Runner& runner) {
  Sum sum;
  const models::Model& model = runner.model();
  for (const recipe::Visit& visit : runner.options().plan.route) {
    for (const layers::Layer::Part& part : model.layers()[static_cast<size_t>(visit.layer)].parts) {
      if (!runs(visit, part)) continue;
      for (const layers::Linear* linear : part.sublayer->linears()) sum.add(*linear, sum.cost.layers);
    }
  }
  for (const layers::Linear* linear : model.head().linears()) sum.add(*linear, sum.cost.head);
  for (const cache::VisitShape& visit : runner.cache_visits()) {
    add_position(sum.cost, visit.window, visit.position_bytes());
    sum.cost.state_bytes += visit.state_floats * static_cast<int64_t>(sizeof(float));
  }
  return sum.cost;
}

}  // namespace lamina::run

#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "run/runner.h"

namespace lamina::run {

/// Whether a layer's part of that role mixes tokens: what recipes call "attn", be it attention, a convolution or a
/// recurrent state.
bool mixes_tokens(std::string_view role);

/// Whether a visit of the route runs that part of its layer.
bool runs(const recipe::Visit& visit, const layers::Layer::Part& part);

/// Weights of matrices by the arithmetic that their kernels do.
struct WeightCounts {
  int64_t int8 = 0;
  int64_t float32 = 0;
};

/// Bytes of the cache per position of visits whose rows read `window` positions.
struct WindowCost {
  int64_t window = 0;
  int64_t position_bytes = 0;
};

/// A visit's experts, or the columns of matrices that inputs are left out of: each token reads those of `used` of
/// `count`, which are `bytes` in all.
struct ExpertCost {
  int64_t count = 0;
  int64_t used = 0;
  int64_t bytes = 0;
};

/// What a runner's route must read and compute. A layer that is visited twice counts twice.
struct RouteCost {
  int64_t fixed_bytes = 0;          ///< packed matrices that every step reads, the head's too
  std::vector<ExpertCost> experts;  ///< what depends on the tokens
  int64_t position_bytes = 0;       ///< of the cache, per position, of the visits that keep all of them
  std::vector<WindowCost> windows;  ///< of the visits that keep fewer, by window
  int64_t state_bytes = 0;          ///< of the cache, per sequence: read and written by each step
  WeightCounts layers;              ///< multiplied once per token; of experts, those that a token uses
  WeightCounts head;                ///< once per row of logits
  std::string_view isa;             ///< instruction set of the largest matrix's kernel

  /// Bytes of the cache that a token reads which attends to so many positions, states left out.
  double cache_bytes(double positions) const;
  /// Bytes of matrices that a step of so many tokens reads, if their experts are chosen evenly and apart.
  double weight_bytes(double tokens) const;
};
RouteCost route_cost(const Runner& runner);

}  // namespace lamina::run

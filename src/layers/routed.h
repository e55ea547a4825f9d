#pragma once

#include <memory>
#include <span>
#include <vector>

#include "layers/linear.h"
#include "layers/record.h"
#include "layers/step.h"
#include "layers/weights.h"

namespace lamina::layers {

/// How a router's logits become experts and their shares. Experts may come in groups of neighbours, of which each row
/// uses the best few (DeepSeek-AI 2024, V2, 2.2.2; V3, 2.1.2).
struct RouterOptions {
  /// Turns a row of logits into scores, which become shares.
  using Scoring = void (*)(float* logits, int64_t experts);

  int64_t experts = 0;
  int64_t used = 0;  ///< experts per row
  Scoring scoring = nullptr;
  int64_t groups = 1;
  int64_t groups_used = 1;  ///< groups per row
  int64_t group_best = 1;   ///< a group counts as much as that many of its best experts together
  bool normalize = false;   ///< shares of a row add up to `share_scale`
  float share_scale = 1;    ///< of all shares
  std::vector<float> bias;  ///< [experts] or empty: added to scores for the choice alone
};

/// Reads {experts, used, scoring?, normalize?, groups?, groups_used?, group_best?, share_scale?, selection_bias?}.
core::Result<RouterOptions> read_router_options(Record& record, Weights& weights);

/// Which experts the rows of a step go to. Every (row, choice) has a place in a list that is sorted by expert, so that
/// an expert's rows lie side by side.
struct Routes {
  int64_t used = 0;
  const int32_t* experts = nullptr;  ///< [rows, used]: a row's choices, best first
  const int32_t* places = nullptr;   ///< [rows, used]: place of each of them
  const float* shares = nullptr;     ///< [rows, used]
  const int32_t* sources = nullptr;  ///< [rows * used]: the row at a place
  const int32_t* first = nullptr;    ///< [experts + 1]: an expert's first place
};

/// Scores of logits [step.rows, experts] (overwritten), the `used` best of each row, ties to the lower index; no expert
/// twice, even when logits are NaN. Everything lies in the arena.
Routes route(Step& step, const RouterOptions& options, float* logits);
/// Arena bytes of route().
int64_t route_bytes(const RouterOptions& options, int64_t rows);

/// The same matrix of every expert.
using ExpertLinears = std::vector<std::shared_ptr<const Linear>>;

/// One product of the rows at every place with the matrix of the place's expert.
struct RoutedProduct {
  const ExpertLinears* experts = nullptr;
  const std::byte* activations = nullptr;  ///< [places] rows as activation_layout() of the matrices has them
  float* y = nullptr;                      ///< [places, outputs]
};

/// Runs the products of all experts; threads share the panels by their cost. A row's bits depend on that row alone.
void run_routed(Step& step, std::span<const RoutedProduct> products, const Routes& routes);

}  // namespace lamina::layers

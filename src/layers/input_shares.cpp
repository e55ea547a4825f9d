#include "layers/input_shares.h"

#include "recipe/plan.h"
#include "recipe/technique.h"

namespace lamina::layers {

InputShares InputShares::of(const recipe::Recipe& recipe, int layers) {
  InputShares shares;
  shares.layers_ = layers;
  for (const recipe::Clause& clause : recipe.clauses) {
    if (clause.where.place != recipe::Place::kWeights) continue;
    for (const recipe::Step& step : clause.steps) {
      if (step.technique == recipe::kInputShare) shares.rules_.push_back({clause.where, recipe::input_share(step)});
    }
  }
  return shares;
}

double InputShares::take(const WeightPlace& place) {
  if (place.key == "router") return 1;
  for (Rule& rule : rules_) {
    if (!means(rule.where, place, layers_)) continue;
    rule.taken = true;
    return rule.share;
  }
  return 1;
}

core::Status InputShares::check_taken() const {
  for (const Rule& rule : rules_) {
    if (rule.taken) continue;
    return core::fail(core::ErrorCode::kInvalid, recipe::error_place(rule.where.position),
                      "{} selects no matrix of this model whose inputs can be left out", recipe::print(rule.where));
  }
  return {};
}

}  // namespace lamina::layers

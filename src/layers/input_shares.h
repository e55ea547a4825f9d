#pragma once

#include <vector>

#include "core/result.h"
#include "layers/weight_codecs.h"
#include "recipe/recipe.h"

namespace lamina::layers {

/// Of which matrices a recipe lets only a share of each row's inputs take part, the largest. Routers of experts,
/// factors and what stands in no layer read all of theirs.
class InputShares {
 public:
  InputShares() = default;
  /// The clauses of a validated recipe for a model of that many layers.
  static InputShares of(const recipe::Recipe& recipe, int layers);

  /// The share for that matrix, which is noted as found; 1: all inputs.
  double take(const WeightPlace& place);
  /// kInvalid: a clause whose matrices nobody has asked for, at the recipe's character.
  core::Status check_taken() const;

 private:
  struct Rule {
    recipe::Where where;
    double share = 1;
    bool taken = false;
  };
  std::vector<Rule> rules_;
  int layers_ = 0;
};

}  // namespace lamina::layers

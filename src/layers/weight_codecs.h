#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "core/result.h"
#include "recipe/recipe.h"

namespace lamina::layers {

/// Where in the model a matrix stands.
struct WeightPlace {
  int layer = -1;         ///< -1: embedding or head
  std::string_view role;  ///< "attn", "mlp", "embedding", "head"
  std::string_view key;   ///< the name of its record: "q", "gate", "router"
};

/// Whether a clause about layers means the matrix, in a model of that many layers.
bool means(const recipe::Where& where, const WeightPlace& place, int layers);

/// Which number format a recipe gives each matrix. Routers of experts keep theirs: they decide where rows go.
class WeightCodecs {
 public:
  WeightCodecs() = default;
  /// The codec techniques of a validated recipe for a model of that many layers. kInvalid: a layer that the model
  /// lacks, at the recipe's character; kUnsupported: a codec without an encoder.
  static core::Result<WeightCodecs> make(const recipe::Recipe& recipe, int layers);

  bool empty() const { return rules_.empty(); }
  /// The codec for that matrix, or null to leave it as it is.
  const codec::Codec* find(const WeightPlace& place) const;

 private:
  struct Rule {
    recipe::Where where;
    const codec::Codec* codec;
  };
  std::vector<Rule> rules_;
  int layers_ = 0;
};

}  // namespace lamina::layers

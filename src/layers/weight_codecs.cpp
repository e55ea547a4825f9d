#include "layers/weight_codecs.h"

#include <algorithm>

#include "recipe/plan.h"
#include "recipe/technique.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using recipe::Place;

bool means(const recipe::Where& where, const WeightPlace& place, int layers) {
  if (where.place != Place::kWeights || !recipe::selects(where, place.layer, layers)) return false;
  return where.part.empty() || where.part == place.role || where.part == place.key;
}

core::Result<WeightCodecs> WeightCodecs::make(const recipe::Recipe& recipe, int layers) {
  WeightCodecs codecs;
  codecs.layers_ = layers;
  for (const recipe::Clause& clause : recipe.clauses) {
    const Place place = clause.where.place;
    if (place != Place::kWeights && place != Place::kHead && place != Place::kEmbed) continue;
    for (const recipe::LayerRange& range : clause.where.layers) {
      const int highest = std::max(range.first, range.last);
      if (highest < layers) continue;
      return fail(ErrorCode::kInvalid, recipe::error_place(range.position),
                  "layer {}: the model has {} layers, 0 to {}", highest, layers, layers - 1);
    }
    for (const recipe::Step& step : clause.steps) {
      const codec::Codec* codec = codec::find_codec(step.technique);
      if (codec == nullptr) continue;
      if (codec->encode == nullptr) {
        return fail(ErrorCode::kUnsupported, recipe::error_place(step.position), "{} has no encoder", step.technique);
      }
      codecs.rules_.push_back({clause.where, codec});
    }
  }
  return codecs;
}

const codec::Codec* WeightCodecs::find(const WeightPlace& place) const {
  if (place.key == "router") return nullptr;
  for (const Rule& rule : rules_) {
    if (place.layer < 0) {
      const Place wanted = place.role == "head" ? Place::kHead : Place::kEmbed;
      if (rule.where.place == wanted) return rule.codec;
      continue;
    }
    if (means(rule.where, place, layers_)) return rule.codec;
  }
  return nullptr;
}

}  // namespace lamina::layers

#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "recipe/recipe.h"

namespace lamina::recipe {

inline constexpr size_t kMaxRoute = 4096;

/// What one layer of the model is made of. A layer with none never runs.
struct LayerFacts {
  bool attention = true;  ///< it mixes tokens, by attention, a recurrent state or a convolution
  bool mlp = true;        ///< it has a feed-forward part, dense or of experts
  bool cross = false;     ///< it reads an encoder's output
};

/// What planning must know of a model.
struct ModelFacts {
  int layers = 0;
  bool key_value_cache = true;          ///< false for encoders and pure state-space models
  std::vector<LayerFacts> sublayers{};  ///< one per layer; empty: each has attention and MLP
  std::vector<int> route{};             ///< layers that a token visits by default; empty: each once, in order
};

/// One step of the route: a layer, and which of its sublayers run. A sublayer that does not run leaves the stream as
/// it is.
struct Visit {
  int layer = 0;
  bool attention = true;
  bool mlp = true;
  bool cross = false;
  friend bool operator==(const Visit&, const Visit&) = default;
};

/// The number format that a clause gives the weights it selects.
struct WeightFormat {
  Where where;
  std::string format;
  friend bool operator==(const WeightFormat&, const WeightFormat&) = default;
};

/// A recipe resolved for one model: what a run does.
struct RunPlan {
  std::vector<Visit> route;
  std::string kv_format = "f16";
  std::vector<WeightFormat> weights{};  ///< in the order of their selectors' text
  friend bool operator==(const RunPlan&, const RunPlan&) = default;
};

/// Validates `recipe` (technique.h) and resolves it for a model. The empty recipe takes the model's own route; where no
/// cache is kept, keys and values stay float32.
/// Errors: kInvalid, kUnsupported (the model lacks what a technique needs) or kLimit (more than kMaxRoute visits), at
/// "recipe, character N".
core::Result<RunPlan> plan(const Recipe& recipe, const ModelFacts& facts);

/// Whether `where`, a layer selector, names `layer` of a model of `layers` layers.
bool selects(const Where& where, int layer, int layers);

}  // namespace lamina::recipe

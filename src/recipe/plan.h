#pragma once

#include <optional>
#include <span>
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
  bool recurrent = false;               ///< some layers keep a state, which cannot be set back by some tokens
  std::vector<LayerFacts> sublayers{};  ///< one per layer; empty: each has attention and MLP
  std::vector<int> route{};             ///< layers that a token visits by default; empty: each once, in order
};

/// One step of the route: a layer, and which of its sublayers run. A sublayer that does not run leaves the stream as
/// it is. A visit beside the one before it reads the stream that that one has read; what both add is added.
struct Visit {
  int layer = 0;
  bool attention = true;
  bool mlp = true;
  bool cross = false;
  bool beside = false;
  friend bool operator==(const Visit&, const Visit&) = default;
};

/// The number format that a clause gives the weights it selects.
struct WeightFormat {
  Where where;
  std::string format;
  friend bool operator==(const WeightFormat&, const WeightFormat&) = default;
};

/// The share of a row's inputs that takes part in the products of matrices which a clause selects.
struct InputShare {
  Where where;
  double share = 1;
  friend bool operator==(const InputShare&, const InputShare&) = default;
};

/// How next tokens are guessed, which the model then confirms many at once.
struct DraftPlan {
  enum class Source { kNgram, kRoute, kModel };
  Source source = Source::kNgram;
  int tokens = 8;              ///< guessed at once, at most
  int match = 2;               ///< kNgram: so many of the last tokens, at least, must have stood in the text before
  double confidence = 0;       ///< else: guessing stops where the likeliest token has less than this probability
  std::vector<Visit> route{};  ///< kRoute: what of the plan's route runs
  std::string model{};         ///< kModel: a file, a folder or a name
  bool always = false;         ///< guess even when it was measured not to pay
  friend bool operator==(const DraftPlan&, const DraftPlan&) = default;
};

/// When a row has gone far enough: after a visit of which `checks` says so, if the likeliest next token has so much
/// probability, or if the visit has turned the stream so little.
struct ExitPlan {
  double confidence = 1;
  bool by_stream = false;      ///< the cosine of the stream before and after the visit, not a probability
  std::vector<bool> checks{};  ///< by visit
  friend bool operator==(const ExitPlan&, const ExitPlan&) = default;
};

/// The logits of an earlier layer join those of the last: by `weight`, for tokens with that share of the likeliest
/// one's probability.
struct FusePlan {
  int layer = 0;  ///< after the last visit of which the stream is taken
  double weight = 1;
  double share = 0.1;
  friend bool operator==(const FusePlan&, const FusePlan&) = default;
};

/// States of earlier tokens after some layers are kept, and woven into those of later ones.
struct ReweavePlan {
  std::vector<int> layers{};  ///< after each visit of which, ascending
  double weight = 0.1;        ///< share of the stream that is replaced; 0: nothing is kept either
  int keep = 64;              ///< states of a text and visit, at most
  double sharpness = 16;      ///< times the cosine of two states: the logarithm of a weight
  bool next = false;          ///< states stand for those of the token after theirs
  friend bool operator==(const ReweavePlan&, const ReweavePlan&) = default;
};

/// What decides on the route of each text, once its prompt is read.
struct RouterPlan {
  enum class Kind { kFirst, kDrllm };
  Kind kind = Kind::kFirst;
  std::string file{};  ///< that was fitted for the model
  friend bool operator==(const RouterPlan&, const RouterPlan&) = default;
};

/// A recipe resolved for one model: what a run does.
struct RunPlan {
  std::vector<Visit> route;
  std::string kv_format = "f16";
  std::optional<DraftPlan> draft{};
  std::optional<ExitPlan> exit{};
  std::optional<FusePlan> fuse{};
  std::optional<ReweavePlan> reweave{};
  std::optional<RouterPlan> router{};
  std::vector<WeightFormat> weights{};  ///< in the order of their selectors' text
  std::vector<InputShare> shares{};     ///< likewise
  friend bool operator==(const RunPlan&, const RunPlan&) = default;
};

/// Validates `recipe` (technique.h) and resolves it for a model. The empty recipe takes the model's own route; where no
/// cache is kept, keys and values stay float32.
/// Errors: kInvalid, kUnsupported (the model lacks what a technique needs) or kLimit (more than kMaxRoute visits), at
/// "recipe, character N".
core::Result<RunPlan> plan(const Recipe& recipe, const ModelFacts& facts);

/// The visits in short: "0-3,5.mlp,(6|7),8" where of layer 5 only the MLP runs.
std::string route_text(std::span<const Visit> route);

/// Whether `where`, a layer selector, names `layer` of a model of `layers` layers.
bool selects(const Where& where, int layer, int layers);

}  // namespace lamina::recipe

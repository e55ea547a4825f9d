#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "recipe/recipe.h"

namespace lamina::recipe {

/// What a technique does to the output, compared with the run without it.
enum class Effect {
  kExact,    ///< the same bits
  kBounded,  ///< differs by no more than a stated bound
  kLossy,    ///< differs as much as it does; measure it
};
std::string_view effect_name(Effect effect);

/// What the model must have for a technique to make sense.
enum class Need {
  kLayerStack,     ///< layers that run one after another and can be left out or repeated
  kKeyValueCache,  ///< keys and values kept from token to token
  kRewinding,      ///< a cache that can forget the last tokens, which recurrent states cannot
};
/// The need in words, as it stands in errors and lists.
std::string_view need_name(Need need);

enum class ParameterKind { kInteger, kNumber, kWord, kText, kLayers, kCall };
std::string_view parameter_kind_name(ParameterKind kind);

/// One parameter of a technique. Positional arguments are bound in the order of declaration; a kLayers parameter takes
/// all positional arguments that are left.
struct Parameter {
  std::string_view name;
  ParameterKind kind = ParameterKind::kInteger;
  double minimum = -std::numeric_limits<double>::infinity();  ///< of integers and numbers, included
  double maximum = std::numeric_limits<double>::infinity();
  std::string_view fallback{};                ///< the default as text; empty: the argument must be given
  std::span<const std::string_view> words{};  ///< kWord: the allowed words; empty: any
  std::string_view doc{};
};

/// A technique that must not be combined with another one, and why.
struct Conflict {
  Place place = Place::kWeights;
  std::string_view technique;
  std::string_view reason;
};

/// A technique's contract: what it takes, needs, changes, and does not go with.
struct Technique {
  std::string_view name;
  Place place = Place::kWeights;
  std::string_view summary;
  std::span<const Parameter> parameters{};
  std::span<const std::string_view> parts{};  ///< kWeights: the parts it can act on ("" is the whole layer)
  std::span<const Need> needs{};
  Effect effect = Effect::kLossy;
  std::span<const Conflict> conflicts{};  ///< one direction is enough
  std::string_view paper{};
  bool sets_format = false;    ///< it gives weights the number format of its name
  bool at_load = false;        ///< it acts where weights are laid out in memory, as number formats do
  bool writes = false;         ///< it changes what a file holds: `compress` carries it out, a run cannot
  bool reads_text = false;     ///< its pass runs the model on text, which --calibration names
  std::string_view example{};  ///< a clause that is valid for every model with at least two layers
};

/// Every technique that acts, ordered by place.
std::span<const Technique> techniques();

/// The technique of that name at that place, or null.
const Technique* find_technique(Place place, std::string_view name);

/// The technique that lets only a share of a row's inputs take part, and the share that a validated step of it asks
/// for.
inline constexpr std::string_view kInputShare = "rsparse";
double input_share(const Step& step);

/// Why two techniques cannot be combined, whichever of them says so; empty if they can.
std::string_view conflict_reason(const Technique& a, const Technique& b);

/// The argument for `parameter` in a validated step, or null where its default holds. For positional kLayers
/// parameters, use layers_argument().
const Argument* find_argument(const Technique& technique, const Step& step, std::string_view parameter);

/// The layer list bound to `parameter` in a validated step, in the order written; empty where its default holds.
std::vector<LayerRange> layers_argument(const Technique& technique, const Step& step, std::string_view parameter);

/// Checks everything that can be known without a model: techniques exist at their place, arguments have the declared
/// names, kinds and ranges, nothing is given twice, nothing in one clause conflicts. Errors as for parse().
core::Status validate(const Recipe& recipe);

}  // namespace lamina::recipe

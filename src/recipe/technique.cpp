#include "recipe/technique.h"

#include <algorithm>
#include <array>

namespace lamina::recipe {
namespace {

constexpr Need kStack[] = {Need::kLayerStack};
constexpr Need kCache[] = {Need::kKeyValueCache};

constexpr std::string_view kLayerOrSublayer[] = {"", "attn", "mlp", "cross"};

constexpr Parameter kListParameters[] = {
    {.name = "layers", .kind = ParameterKind::kLayers, .doc = "the layers to run, in this order; repeats are allowed"},
};

constexpr Conflict kNotF32[] = {{Place::kKv, "f32", "a cache has one number format"}};

// The rows stand in the order of their places.
constexpr Technique kTechniques[] = {
    {.name = "drop",
     .place = Place::kWeights,
     .summary = "leaves layers, or only their attention or MLP, out of the run",
     .parts = kLayerOrSublayer,
     .needs = kStack,
     .effect = Effect::kLossy,
     .paper = "He et al. 2024, What Matters in Transformers? Not All Attention is Needed (arXiv 2406.15786)",
     .example = "L1.attn:drop"},
    {.name = "list",
     .place = Place::kRoute,
     .summary = "runs the listed layers in the listed order; written without its name",
     .parameters = kListParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .paper = "Li et al. 2025, Skip a Layer or Loop it? (arXiv 2507.07996)",
     .example = "route:0-1,1"},
    {.name = "f16",
     .place = Place::kKv,
     .summary = "keeps keys and values as 16-bit floats, which is the default",
     .needs = kCache,
     .effect = Effect::kExact,
     .conflicts = kNotF32,
     .example = "kv:f16"},
    {.name = "f32",
     .place = Place::kKv,
     .summary = "keeps keys and values as 32-bit floats: nothing is rounded, twice the bytes",
     .needs = kCache,
     .effect = Effect::kLossy,
     .example = "kv:f32"},
};

std::string_view declared_conflict(const Technique& a, const Technique& b) {
  for (const Conflict& conflict : a.conflicts) {
    if (conflict.place == b.place && conflict.technique == b.name) return conflict.reason;
  }
  return {};
}

}  // namespace

std::string_view effect_name(Effect effect) {
  static constexpr std::array<std::string_view, 3> kNames{"exact", "bounded", "lossy"};
  return kNames[static_cast<size_t>(effect)];
}

std::string_view need_name(Need need) {
  static constexpr std::array<std::string_view, 2> kNames{"a stack of layers", "a key-value cache"};
  return kNames[static_cast<size_t>(need)];
}

std::string_view parameter_kind_name(ParameterKind kind) {
  static constexpr std::array<std::string_view, 6> kNames{"integer", "number", "word", "text", "layers", "technique"};
  return kNames[static_cast<size_t>(kind)];
}

std::span<const Technique> techniques() {
  return kTechniques;
}

const Technique* find_technique(Place place, std::string_view name) {
  const auto row = std::ranges::find_if(
      kTechniques, [&](const Technique& technique) { return technique.place == place && technique.name == name; });
  return row == std::end(kTechniques) ? nullptr : &*row;
}

std::string_view conflict_reason(const Technique& a, const Technique& b) {
  const std::string_view reason = declared_conflict(a, b);
  return reason.empty() ? declared_conflict(b, a) : reason;
}

const Argument* find_argument(const Technique& technique, const Step& step, std::string_view parameter) {
  for (size_t i = 0; i < step.arguments.size(); ++i) {
    const Argument& argument = step.arguments[i];
    if (argument.name == parameter) return &argument;
    const bool positional = argument.name.empty() && i < technique.parameters.size();
    if (positional && technique.parameters[i].name == parameter) return &argument;
  }
  return nullptr;
}

std::vector<LayerRange> layers_argument(const Technique& technique, const Step& step, std::string_view parameter) {
  std::vector<LayerRange> result;
  const Argument* first = find_argument(technique, step, parameter);
  if (first == nullptr) return result;
  const Argument* end = first->name.empty() ? step.arguments.data() + step.arguments.size() : first + 1;
  for (const Argument* item = first; item != end && item->name == first->name; ++item) {
    const Value& value = item->value;
    if (value.kind == Value::Kind::kInteger) {
      const int index = static_cast<int>(value.integer);
      result.push_back({index, index, item->position});
    } else {
      result.insert(result.end(), value.layers.begin(), value.layers.end());
    }
  }
  return result;
}

}  // namespace lamina::recipe

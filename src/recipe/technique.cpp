#include "recipe/technique.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace lamina::recipe {
namespace {

constexpr Need kStack[] = {Need::kLayerStack};
constexpr Need kCache[] = {Need::kKeyValueCache};

constexpr std::string_view kLayerOrSublayer[] = {"", "attn", "mlp", "cross"};

constexpr Parameter kListParameters[] = {
    {.name = "layers", .kind = ParameterKind::kLayers, .doc = "the layers to run, in this order; repeats are allowed"},
};

constexpr std::string_view kMatrices[] = {"", "attn", "mlp", "q", "k", "v", "o", "gate", "up", "down"};

constexpr std::string_view kOneCacheFormat = "a cache has one number format";
constexpr Conflict kOtherCaches[] = {
    {Place::kKv, "f32", kOneCacheFormat}, {Place::kKv, "bf16", kOneCacheFormat}, {Place::kKv, "q8_0", kOneCacheFormat}};

/// A number format of weights, and how it is written at each place.
struct Format {
  std::string_view name;
  std::string_view summary;
  std::string_view layers;
  std::string_view head;
  std::string_view embed;
};
constexpr std::array kFormats{
    Format{"f32", "32-bit floats", "L*:f32", "head:f32", "embed:f32"},
    Format{"f16", "16-bit floats with 5 bits of exponent", "L*:f16", "head:f16", "embed:f16"},
    Format{"bf16", "16-bit floats with the exponents of f32", "L*:bf16", "head:bf16", "embed:bf16"},
    Format{"f8_e4m3", "8-bit floats with 4 bits of exponent; safetensors only", "L*:f8_e4m3", "head:f8_e4m3",
           "embed:f8_e4m3"},
    Format{"f8_e5m2", "8-bit floats with 5 bits of exponent; safetensors only", "L*:f8_e5m2", "head:f8_e5m2",
           "embed:f8_e5m2"},
    Format{"q8_0", "8 bits, a scale for 32 numbers", "L*:q8_0", "head:q8_0", "embed:q8_0"},
    Format{"q6_k", "6 bits, scales of scales in blocks of 256", "L*:q6_k", "head:q6_k", "embed:q6_k"},
    Format{"q5_k", "5 bits and minimums, scales of scales in blocks of 256", "L*:q5_k", "head:q5_k", "embed:q5_k"},
    Format{"q5_1", "5 bits, a scale and a minimum for 32 numbers", "L*:q5_1", "head:q5_1", "embed:q5_1"},
    Format{"q5_0", "5 bits, a scale for 32 numbers", "L*:q5_0", "head:q5_0", "embed:q5_0"},
    Format{"q4_k", "4 bits and minimums, scales of scales in blocks of 256", "L*:q4_k", "head:q4_k", "embed:q4_k"},
    Format{"q4_1", "4 bits, a scale and a minimum for 32 numbers", "L*:q4_1", "head:q4_1", "embed:q4_1"},
    Format{"q4_0", "4 bits, a scale for 32 numbers", "L*:q4_0", "head:q4_0", "embed:q4_0"},
    Format{"q3_k", "3 bits, scales of scales in blocks of 256", "L*:q3_k", "head:q3_k", "embed:q3_k"},
    Format{"q2_k", "2 bits and minimums, scales of scales in blocks of 256", "L*:q2_k", "head:q2_k", "embed:q2_k"},
    Format{"iq4_xs", "4 bits on an uneven grid, scales of scales in blocks of 256", "L*:iq4_xs", "head:iq4_xs",
           "embed:iq4_xs"},
    Format{"iq4_nl", "4 bits on an uneven grid, a scale for 32 numbers", "L*:iq4_nl", "head:iq4_nl", "embed:iq4_nl"},
    Format{"mxfp4", "4-bit floats, a power of two for 32 numbers", "L*:mxfp4", "head:mxfp4", "embed:mxfp4"},
    Format{"nvfp4", "4-bit floats, an 8-bit float for 16 numbers", "L*:nvfp4", "head:nvfp4", "embed:nvfp4"},
};

/// A tensor has one format: each row of a place conflicts with all others there.
template <Place kPlace>
constexpr auto kOneFormat = [] {
  std::array<Conflict, kFormats.size()> all{};
  for (size_t i = 0; i < all.size(); ++i) all[i] = {kPlace, kFormats[i].name, "a tensor has one number format"};
  return all;
}();

template <Place kPlace>
constexpr Technique format_row(const Format& format, std::string_view example) {
  return {.name = format.name,
          .place = kPlace,
          .summary = format.summary,
          .parts = kPlace == Place::kWeights ? std::span<const std::string_view>(kMatrices)
                                             : std::span<const std::string_view>(),
          .effect = Effect::kLossy,
          .conflicts = kOneFormat<kPlace>,
          .sets_format = true,
          .example = example};
}

constexpr std::string_view kScores[] = {"cosine", "contribution", "length"};
constexpr std::string_view kOrders[] = {"lowest", "run"};
constexpr std::string_view kUnits[] = {"layers", "parts"};
constexpr Parameter kDropParameters[] = {
    {.name = "count",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = kMaxLayerIndex,
     .fallback = "0",
     .doc = "how many of what is selected, chosen by statistics when a model is written; 0: all of it"},
    {.name = "by",
     .kind = ParameterKind::kWord,
     .fallback = "cosine",
     .words = kScores,
     .doc = "what is chosen by, the lowest first: one minus the cosine of the stream before and after, the length of "
            "what is added beside the stream's, or the change of the stream's length"},
    {.name = "order",
     .kind = ParameterKind::kWord,
     .fallback = "lowest",
     .words = kOrders,
     .doc = "the lowest scores wherever they are, or the run of neighbours with the lowest sum"},
    {.name = "units",
     .kind = ParameterKind::kWord,
     .fallback = "layers",
     .words = kUnits,
     .doc = "what a selector of whole layers counts: layers, or their attentions and MLPs in one list"},
};

constexpr Technique kDrop = {
    .name = "drop",
    .place = Place::kWeights,
    .summary = "leaves layers, or only their attention or MLP, out of the run, or out of a file that is written",
    .parameters = kDropParameters,
    .parts = kLayerOrSublayer,
    .needs = kStack,
    .effect = Effect::kLossy,
    .paper = "He et al. 2024, What Matters in Transformers? Not All Attention is Needed (arXiv 2406.15786)",
    .example = "L1.attn:drop"};

constexpr Parameter kSvdParameters[] = {
    {.name = "rank",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = 1 << 20,
     .fallback = "0",
     .doc = "columns of the first factor; 0: as energy says"},
    {.name = "energy",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1,
     .fallback = "0",
     .doc = "the least rank that keeps this share of the squared singular values; 0: as rank says"},
};

constexpr std::string_view kInits[] = {"average", "first", "step"};
constexpr Parameter kTieParameters[] = {
    {.name = "rank",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = 1 << 20,
     .fallback = "0",
     .doc = "columns of the factors by which each layer differs from the shared matrices; 0: by none"},
    {.name = "unique",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = kMaxLayerIndex,
     .fallback = "1",
     .doc = "how many sets of matrices the layers use in turn, as a loop of so many layers does"},
    {.name = "init",
     .kind = ParameterKind::kWord,
     .fallback = "average",
     .words = kInits,
     .doc = "what a set is made of: the mean of its layers, the first of them, or layers at equal steps"},
};
constexpr std::string_view kMixersAndMlps[] = {"", "attn", "mlp"};

constexpr std::string_view kPatterns[] = {"rows", "two_of_four"};
constexpr Parameter kSparseParameters[] = {
    {.name = "share",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 0.99,
     .fallback = "0.5",
     .doc = "of the numbers of each row, how many become 0"},
    {.name = "pattern",
     .kind = ParameterKind::kWord,
     .fallback = "rows",
     .words = kPatterns,
     .doc = "anywhere in a row, or two of every four neighbours"},
};
constexpr Conflict kSparse[] = {{Place::kWeights, "magnitude", "either chooses the numbers that become 0"},
                                {Place::kWeights, "svd", "factors of a matrix do not keep its zeros"},
                                {Place::kWeights, "tie", "shared matrices and their factors do not keep its zeros"}};
constexpr Parameter kFoldParameters[] = {
    {.name = "ridge",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1,
     .fallback = "0.01",
     .doc = "share of the mean square of inputs that is added to each one's, against fits to chance"},
};
constexpr Conflict kFactored[] = {{Place::kWeights, "svd", "a matrix has one pair of factors"}};

/// What changes the numbers of a file.
constexpr Technique kWritten[] = {
    {.name = "tie",
     .place = Place::kWeights,
     .summary = "lets layers share their matrices, each with a difference of low rank",
     .parameters = kTieParameters,
     .parts = kMixersAndMlps,
     .needs = kStack,
     .effect = Effect::kLossy,
     .conflicts = kFactored,
     .paper = "Bae et al. 2024, Relaxed Recursive Transformers (arXiv 2410.20672)",
     .writes = true,
     .example = "L0-1.mlp:tie(rank=16)"},
    {.name = "magnitude",
     .place = Place::kWeights,
     .summary = "sets the smallest numbers of each row to 0",
     .parameters = kSparseParameters,
     .parts = kMatrices,
     .effect = Effect::kLossy,
     .conflicts = std::span(kSparse).subspan<1>(),
     .paper = "Han et al. 2015 (arXiv 1506.02626)",
     .writes = true,
     .example = "L*.mlp:magnitude"},
    {.name = "wanda",
     .place = Place::kWeights,
     .summary = "sets the numbers of each row to 0 that weigh least by their inputs; needs statistics",
     .parameters = kSparseParameters,
     .parts = kMatrices,
     .effect = Effect::kLossy,
     .conflicts = kSparse,
     .paper = "Sun et al. 2023, Wanda (arXiv 2306.11695)",
     .writes = true,
     .example = "L*.mlp:wanda"},

    {.name = "svd",
     .place = Place::kWeights,
     .summary = "writes a matrix as the product of two thinner ones, weighed by its inputs' squares where statistics "
                "have them",
     .parameters = kSvdParameters,
     .parts = kMatrices,
     .effect = Effect::kLossy,
     .paper = "Kaushal et al. 2023, LORD (arXiv 2309.14021)",
     .writes = true,
     .example = "L*.mlp:svd(rank=64)"},
};

constexpr Parameter kShares = {
    .name = "weights",
    .kind = ParameterKind::kText,
    .fallback = "equal",
    .doc = "a number for each model, as \"0.3,0.7\", of those after --base where there is one"};
constexpr Parameter kScale = {.name = "scale",
                              .kind = ParameterKind::kNumber,
                              .fallback = "1",
                              .doc = "what the sum of differences from the base is multiplied by"};
constexpr Parameter kDensity = {.name = "density",
                                .kind = ParameterKind::kNumber,
                                .minimum = 0.001,
                                .maximum = 1,
                                .fallback = "0.5",
                                .doc = "share of the differences from the base that is kept"};
constexpr Parameter kLinearParameters[] = {kShares};
constexpr Parameter kSlerpParameters[] = {{.name = "t",
                                           .kind = ParameterKind::kNumber,
                                           .minimum = 0,
                                           .maximum = 1,
                                           .fallback = "0.5",
                                           .doc = "the way from the first model to the second"}};
constexpr Parameter kArithmeticParameters[] = {kShares, kScale};
constexpr Parameter kTiesParameters[] = {kDensity, kShares, kScale};
constexpr Parameter kDareParameters[] = {kDensity,
                                         kShares,
                                         kScale,
                                         {.name = "seed",
                                          .kind = ParameterKind::kInteger,
                                          .minimum = 0,
                                          .maximum = 1e15,
                                          .fallback = "1",
                                          .doc = "of the choice which differences are kept"}};

constexpr std::string_view kOneMerge = "models are merged in one way";
constexpr Conflict kOtherMerges[] = {{Place::kMerge, "linear", kOneMerge},
                                     {Place::kMerge, "slerp", kOneMerge},
                                     {Place::kMerge, "arithmetic", kOneMerge},
                                     {Place::kMerge, "ties", kOneMerge},
                                     {Place::kMerge, "dare", kOneMerge}};

constexpr Technique merge_row(std::string_view name, std::string_view summary, std::span<const Parameter> parameters,
                              std::string_view example, std::string_view paper) {
  return {.name = name,
          .place = Place::kMerge,
          .summary = summary,
          .parameters = parameters,
          .effect = Effect::kLossy,
          .conflicts = kOtherMerges,
          .paper = paper,
          .writes = true,
          .example = example};
}

/// How `lamina merge` makes one model of several.
constexpr Technique kMerges[] = {
    merge_row("linear", "the weighted mean of models", kLinearParameters, "merge:linear",
              "Wortsman et al. 2022, Model soups (arXiv 2203.05482)"),
    merge_row("slerp", "a point on the arc between two models, matrix by matrix", kSlerpParameters, "merge:slerp",
              "Shoemake 1985"),
    merge_row("arithmetic", "a base and the sum of the models' differences from it", kArithmeticParameters,
              "merge:arithmetic", "Ilharco et al. 2022, Task arithmetic (arXiv 2212.04089)"),
    merge_row("ties", "a base and the models' largest differences from it, where most of them agree in sign",
              kTiesParameters, "merge:ties(density=0.2)", "Yadav et al. 2023, TIES (arXiv 2306.01708)"),
    merge_row("dare", "a base and differences from it of which a random share is kept and enlarged", kDareParameters,
              "merge:dare(density=0.3)", "Yu et al. 2023, DARE (arXiv 2311.03099)"),
};

constexpr Technique kRunTechniques[] = {
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
     .conflicts = kOtherCaches,
     .example = "kv:f16"},
    {.name = "f32",
     .place = Place::kKv,
     .summary = "keeps keys and values as 32-bit floats: nothing is rounded, twice the bytes",
     .needs = kCache,
     .effect = Effect::kLossy,
     .conflicts = std::span(kOtherCaches).subspan<1>(),
     .example = "kv:f32"},
    {.name = "bf16",
     .place = Place::kKv,
     .summary =
         "keeps keys and values as 16-bit floats with the exponents of f32: coarser than f16, but nothing is too large",
     .needs = kCache,
     .effect = Effect::kLossy,
     .conflicts = std::span(kOtherCaches).subspan<2>(),
     .example = "kv:bf16"},
    {.name = "q8_0",
     .place = Place::kKv,
     .summary = "keeps keys and values as 8-bit integers with scales: about half the bytes of f16",
     .needs = kCache,
     .effect = Effect::kLossy,
     .example = "kv:q8_0"},
};

// The rows stand in the order of their places.
constexpr auto kTechniques = [] {
  std::array<Technique, 1 + std::size(kWritten) + std::size(kRunTechniques) + 3 * kFormats.size() + std::size(kMerges)>
      all{};
  size_t count = 0;
  all[count++] = kDrop;
  for (const Technique& technique : kWritten) all[count++] = technique;
  for (const Format& format : kFormats) all[count++] = format_row<Place::kWeights>(format, format.layers);
  for (const Technique& technique : kRunTechniques) all[count++] = technique;
  for (const Format& format : kFormats) all[count++] = format_row<Place::kHead>(format, format.head);
  for (const Format& format : kFormats) all[count++] = format_row<Place::kEmbed>(format, format.embed);
  for (const Technique& technique : kMerges) all[count++] = technique;
  return all;
}();

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
  return row == kTechniques.end() ? nullptr : &*row;
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

#include "recipe/technique.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "recipe/added_techniques.h"
#include "recipe/merge_techniques.h"
#include "recipe/run_techniques.h"

namespace lamina::recipe {
namespace {

constexpr std::string_view kLayerOrSublayer[] = {"", "attn", "mlp", "cross"};

constexpr std::string_view kMatrices[] = {"", "attn", "mlp", "q", "k", "v", "o", "gate", "up", "down"};

/// A number format of weights, and how it is written at each place.
struct Format {
  std::string_view name;
  std::string_view summary;
  std::string_view layers;
  std::string_view head;
  std::string_view embed;
  std::string_view paper{};
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
    Format{"cb2", "2 bits that index a table of four numbers that each block of 256 learns; read by this program alone",
           "L*:cb2", "head:cb2", "embed:cb2",
           "Yvinec et al. 2023, Network Memory Footprint Compression Through Jointly Learnable Codebooks and Mappings "
           "(arXiv 2309.17361), without training"},
    Format{"iq4_xs", "4 bits on an uneven grid, scales of scales in blocks of 256", "L*:iq4_xs", "head:iq4_xs",
           "embed:iq4_xs"},
    Format{"iq4_nl", "4 bits on an uneven grid, a scale for 32 numbers", "L*:iq4_nl", "head:iq4_nl", "embed:iq4_nl"},
    Format{"iq3_s", "3 bits as points of a lattice, scales of scales in blocks of 256", "L*:iq3_s", "head:iq3_s",
           "embed:iq3_s"},
    Format{"iq3_xxs", "3 bits as points of a small lattice, scales of scales in blocks of 256", "L*:iq3_xxs",
           "head:iq3_xxs", "embed:iq3_xxs"},
    Format{"iq2_s", "2.5 bits as points of a lattice, scales of scales in blocks of 256", "L*:iq2_s", "head:iq2_s",
           "embed:iq2_s"},
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
          .paper = format.paper,
          .sets_format = true,
          .example = example};
}

constexpr std::string_view kGptqOrders[] = {"act", "block", "none"};
constexpr Parameter kGptqParameters[] = {
    {.name = "damp",
     .kind = ParameterKind::kNumber,
     .minimum = 1e-6,
     .maximum = 1,
     .fallback = "0.01",
     .doc = "share of the inputs' mean square that is added to each input's; more trusts the calibration text less"},
    {.name = "order",
     .kind = ParameterKind::kWord,
     .fallback = "act",
     .words = kGptqOrders,
     .doc = "which numbers of a row are rounded first: those of the largest inputs (act), likewise block by block "
            "(block), or as they lie (none)"},
};

constexpr std::string_view kNoCodes = "its numbers are points of a lattice, which cannot be rounded one by one";
constexpr std::string_view kNoScale = "its numbers share no scale, so rounding them has nothing to choose";
constexpr Conflict kGptqConflicts[] = {{Place::kWeights, "f32", kNoScale},     {Place::kWeights, "f16", kNoScale},
                                       {Place::kWeights, "bf16", kNoScale},    {Place::kWeights, "f8_e4m3", kNoScale},
                                       {Place::kWeights, "f8_e5m2", kNoScale}, {Place::kWeights, "iq3_s", kNoCodes},
                                       {Place::kWeights, "iq3_xxs", kNoCodes}, {Place::kWeights, "iq2_s", kNoCodes}};

constexpr Technique kGptq = {
    .name = "gptq",
    .place = Place::kWeights,
    .summary =
        "rounds into the format beside it number by number, each making up for the errors before it; needs "
        "statistics with Gram matrices",
    .parameters = kGptqParameters,
    .parts = kMatrices,
    .effect = Effect::kLossy,
    .conflicts = kGptqConflicts,
    .paper = "Frantar et al. 2022, GPTQ (arXiv 2210.17323)",
    .writes = true,
    .example = "L*:gptq+q4_k"};

constexpr std::string_view kBitsOrders[] = {"measured", "lim", "zscore", "experts"};
constexpr std::string_view kBitsFormats[] = {"cb2",  "q2_k", "q3_k", "mxfp4", "iq4_xs", "iq4_nl", "q4_k",
                                             "q4_1", "q5_0", "q5_k", "q5_1",  "q6_k",   "q8_0"};
constexpr Parameter kBitsParameters[] = {
    {.name = "avg",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 16,
     .fallback = "0",
     .doc = "bits of a number, scales counted, over all that is selected; 0: what --target-bytes leaves"},
    {.name = "order",
     .kind = ParameterKind::kWord,
     .fallback = "measured",
     .words = kBitsOrders,
     .doc = "which tensors get more: those whose errors cost most as measured; layers that turn the stream most (lim); "
            "layers with most weights above a standard deviation (zscore); attention, then experts that most tokens "
            "choose (experts)"},
    {.name = "low",
     .kind = ParameterKind::kWord,
     .fallback = "q2_k",
     .words = kBitsFormats,
     .doc = "the smallest format; cb2, which only this program reads, is there when it is named"},
    {.name = "high",
     .kind = ParameterKind::kWord,
     .fallback = "q8_0",
     .words = kBitsFormats,
     .doc = "the largest format"},
};

constexpr auto kBitsConflicts = [] {
  std::array<Conflict, kFormats.size()> all{};
  for (size_t i = 0; i < all.size(); ++i) all[i] = {Place::kWeights, kFormats[i].name, "bits chooses the format"};
  return all;
}();

constexpr Technique kBits = {
    .name = "bits",
    .place = Place::kWeights,
    .summary = "gives each tensor the number format with which a budget of bytes costs the least error",
    .parameters = kBitsParameters,
    .parts = kMatrices,
    .effect = Effect::kLossy,
    .conflicts = kBitsConflicts,
    .paper = "Dumitru et al. 2024, Layer-Wise Quantization (arXiv 2406.17415), for the orders by layers",
    .writes = true,
    .example = "L*:bits(avg=4.5)"};

constexpr std::string_view kScores[] = {"cosine", "contribution", "length", "void"};
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
            "what is added beside the stream's, the change of the stream's length, or the share of tokens for which it "
            "is not void, so changes that length by 0.8 of the largest change before it or more"},
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
    .example = "L0.attn:drop"};

constexpr Technique kSharesInputs = {
    .name = kInputShare,
    .place = Place::kWeights,
    .summary =
        "lets only the largest inputs of each row take part in products, and reads no others from memory; the factors "
        "of svd(rest=keep), which read all, make up for the rest",
    .parameters = kInputShareParameters,
    .parts = kMatrices,
    .effect = Effect::kLossy,
    .paper = "Zhang et al. 2025, R-Sparse (arXiv 2504.19449)",
    .at_load = true,
    .example = "L*.mlp:rsparse(share=0.5)"};

constexpr Parameter kFoldParameters[] = {
    kDropParameters[0],
    kDropParameters[1],
    kDropParameters[2],
    kDropParameters[3],
    {.name = "into",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = kMaxLayerIndex,
     .fallback = "1",
     .doc = "how many of the layers that stay take the work over, from the one before what goes"},
    {.name = "tokens",
     .kind = ParameterKind::kInteger,
     .minimum = 1024,
     .maximum = 1e9,
     .fallback = "65536",
     .doc = "of the calibration text, at most; each keeps two rows of the stream in memory"},
};
constexpr Conflict kFoldConflicts[] = {{Place::kWeights, "drop", "either takes layers out"}};

constexpr std::string_view kSvdRests[] = {"drop", "keep"};
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
    {.name = "rest",
     .kind = ParameterKind::kWord,
     .fallback = "drop",
     .words = kSvdRests,
     .doc = "what the factors do not hold of the matrix: gone, or kept as a matrix beside them"},
};

constexpr Parameter kUnitsParameters[] = {
    {.name = "share",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 0.99,
     .doc = "of the units of each MLP, how many go"},
    {.name = "step",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = 1 << 16,
     .fallback = "32",
     .doc = "a multiple of it stays, as number formats in blocks want"},
};
constexpr std::string_view kMlp[] = {"mlp"};
constexpr std::string_view kAttn[] = {"attn"};
constexpr Parameter kHeadsParameters[] = {
    {.name = "groups",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = 1 << 16,
     .doc = "how many heads of keys and values go from each attention, with the query heads that read them"},
};

constexpr Parameter kExpertsParameters[] = {
    {.name = "count", .kind = ParameterKind::kInteger, .minimum = 2, .maximum = 1024, .doc = "experts of each MLP"},
    {.name = "used",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = 1024,
     .doc = "how many of them a token goes to; all of them: nothing is lost"},
    {.name = "tokens",
     .kind = ParameterKind::kInteger,
     .minimum = 1024,
     .maximum = 1e9,
     .fallback = "16384",
     .doc = "of the calibration text, at most; what an MLP reads and holds of each is in memory"},
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
constexpr Conflict kFactored[] = {{Place::kWeights, "svd", "a matrix has one pair of factors"}};

constexpr Parameter kAwqParameters[] = {
    {.name = "grid",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = 100,
     .fallback = "20",
     .doc = "exponents that are tried at each place, from 0 up to 1"},
};
constexpr Parameter kSmoothParameters[] = {
    {.name = "alpha",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1,
     .fallback = "0.5",
     .doc = "how much of the inputs' size moves into the weights"},
    {.name = "grid",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = 100,
     .fallback = "0",
     .doc = "steps from 0 to 1 in which one alpha for all is searched, by what the format beside it loses; 0: as alpha "
            "says"},
};
constexpr std::string_view kRotated[] = {"both", "stream", "values"};
constexpr Parameter kRotateParameters[] = {
    {.name = "at",
     .kind = ParameterKind::kWord,
     .fallback = "both",
     .words = kRotated,
     .doc = "the stream of the whole model, the values of each attention, or both"},
    {.name = "seed",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = 1e15,
     .fallback = "1",
     .doc = "of the signs, and of the orthogonal matrix where the size is no power of two"},
};
constexpr std::string_view kWholeLayer[] = {""};
constexpr Conflict kAwqConflicts[] = {{Place::kWeights, "smooth", "inputs are scaled by one of them"}};
constexpr std::string_view kNoZeros = "rotated numbers are sums, which do not keep zeros";
constexpr Conflict kRotateConflicts[] = {{Place::kWeights, "magnitude", kNoZeros},
                                         {Place::kWeights, "wanda", kNoZeros}};

/// What changes the numbers of a file.
constexpr Technique kWritten[] = {
    {.name = "awq",
     .place = Place::kWeights,
     .summary = "scales inputs of matrices, and what makes them by the inverse, so that the format beside it loses "
                "least; needs statistics",
     .parameters = kAwqParameters,
     .parts = kMatrices,
     .effect = Effect::kLossy,
     .conflicts = kAwqConflicts,
     .paper = "Lin et al. 2023, AWQ (arXiv 2306.00978)",
     .writes = true,
     .example = "L*:awq"},
    {.name = "smooth",
     .place = Place::kWeights,
     .summary = "moves the size of inputs into the weights that read them, so that inputs in 8 bits lose less, or the "
                "format beside it; needs statistics",
     .parameters = kSmoothParameters,
     .parts = kMatrices,
     .effect = Effect::kLossy,
     .paper = "Xiao et al. 2022, SmoothQuant (arXiv 2211.10438); Pan et al. 2023, SmoothQuant+ (arXiv 2312.03788)",
     .writes = true,
     .example = "L*:smooth(alpha=0.5)"},
    {.name = "rotate",
     .place = Place::kWeights,
     .summary = "turns the stream and the values by orthogonal matrices, so that no number stands out when they are "
                "rounded; norms are folded into what follows them",
     .parameters = kRotateParameters,
     .parts = kWholeLayer,
     .effect = Effect::kLossy,
     .conflicts = kRotateConflicts,
     .paper = "Ashkboos et al. 2024, QuaRot (arXiv 2404.00456)",
     .writes = true,
     .example = "L*:rotate"},
    {.name = "fold",
     .place = Place::kWeights,
     .summary =
         "takes layers, or their attention or MLP, out as drop does, and fits the last matrix of layers that stay "
         "to do their work; needs calibration text",
     .parameters = kFoldParameters,
     .parts = kMixersAndMlps,
     .needs = kStack,
     .effect = Effect::kLossy,
     .conflicts = kFoldConflicts,
     .paper = "Pei et al. 2024, FuseGPT (arXiv 2411.14507), without training",
     .writes = true,
     .reads_text = true,
     .example = "L0-1.attn:fold(count=1)"},
    {.name = "heads",
     .place = Place::kWeights,
     .summary = "takes the heads out of attentions that add least, and lets the others take over their work; needs "
                "statistics",
     .parameters = kHeadsParameters,
     .parts = kAttn,
     .effect = Effect::kLossy,
     .paper = "Dutta et al. 2024, VTrans (arXiv 2406.05276), without training",
     .writes = true,
     .example = "L*.attn:heads(groups=1)"},
    {.name = "units",
     .place = Place::kWeights,
     .summary =
         "makes MLPs thinner: the units that add least go, and the others take over their work; needs statistics",
     .parameters = kUnitsParameters,
     .parts = kMlp,
     .effect = Effect::kLossy,
     .paper = "Dutta et al. 2024, VTrans (arXiv 2406.05276), without training",
     .writes = true,
     .example = "L*.mlp:units(share=0.25)"},
    {.name = "experts",
     .place = Place::kWeights,
     .summary = "cuts gated MLPs into experts of units that act together, with a router to each layer's; needs "
                "calibration text",
     .parameters = kExpertsParameters,
     .parts = kMlp,
     .effect = Effect::kLossy,
     .paper = "Cai et al. 2024, Read-ME (arXiv 2410.19123), without training",
     .writes = true,
     .reads_text = true,
     .example = "L*.mlp:experts(count=8,used=4)"},
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
     .summary = "writes a matrix as the product of two thinner ones, with the least error of its outputs where "
                "statistics have the inputs' Gram matrices or squares",
     .parameters = kSvdParameters,
     .parts = kMatrices,
     .effect = Effect::kLossy,
     .paper = "Kaushal et al. 2023, LORD (arXiv 2309.14021)",
     .writes = true,
     .example = "L*.mlp:svd(rank=64)"},
};

// A technique that would act in a run needs more than a pass.
static_assert(std::ranges::all_of(kAddedTechniques, [](const Technique& technique) {
  return technique.place == Place::kWeights && technique.writes && !technique.sets_format;
}));

// The rows stand in the order of their places.
constexpr auto kTechniques = [] {
  std::array<Technique, 4 + std::size(kWritten) + kAddedTechniques.size() + std::size(kRunTechniques) +
                            3 * kFormats.size() + std::size(kMerges)>
      all{};
  size_t count = 0;
  all[count++] = kDrop;
  all[count++] = kSharesInputs;
  all[count++] = kGptq;
  all[count++] = kBits;
  for (const Technique& technique : kWritten) all[count++] = technique;
  for (const Technique& technique : kAddedTechniques) all[count++] = technique;
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
  static constexpr std::array<std::string_view, 3> kNames{"a stack of layers", "a key-value cache",
                                                          "a cache without recurrent states"};
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
  bool list = false;  // a list has begun, and takes all further positional arguments
  for (size_t i = 0; i < step.arguments.size(); ++i) {
    const Argument& argument = step.arguments[i];
    if (argument.name == parameter) return &argument;
    const bool positional = argument.name.empty() && !list && i < technique.parameters.size();
    if (positional && technique.parameters[i].name == parameter) return &argument;
    list = list || (positional && technique.parameters[i].kind == ParameterKind::kLayers);
  }
  return nullptr;
}

double input_share(const Step& step) {
  const Argument* given = find_argument(kSharesInputs, step, "share");
  if (given == nullptr) return kDefaultInputShare;
  return given->value.kind == Value::Kind::kInteger ? static_cast<double>(given->value.integer) : given->value.number;
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

#pragma once

#include <iterator>
#include <span>
#include <string_view>

#include "recipe/technique.h"

// What acts in a run beside the formats of weights: rows of the table in technique.cpp.
namespace lamina::recipe {

inline constexpr Need kStack[] = {Need::kLayerStack};
inline constexpr Need kCache[] = {Need::kKeyValueCache};
inline constexpr Need kRewinds[] = {Need::kRewinding};
inline constexpr Need kStackThatRewinds[] = {Need::kLayerStack, Need::kRewinding};

inline constexpr double kDefaultInputShare = 0.5;
inline constexpr Parameter kInputShareParameters[] = {
    {.name = "share",
     .kind = ParameterKind::kNumber,
     .minimum = 0.01,
     .maximum = 1,
     .fallback = "0.5",
     .doc = "of the inputs of a matrix, how many take part: of each row the largest; 1: all, as without it"},
};

inline constexpr Parameter kListParameters[] = {
    {.name = "layers",
     .kind = ParameterKind::kLayers,
     .doc = "the layers to run, in this order; repeats are allowed; (6|7) runs layers side by side"},
};

inline constexpr std::string_view kOneRoute = "both choose the layers";
inline constexpr Conflict kOtherRoutes[] = {{Place::kRoute, "skip", kOneRoute}};

inline constexpr std::string_view kSkipPolicies[] = {"unified"};
inline constexpr Parameter kSkipParameters[] = {
    {.name = "policy",
     .kind = ParameterKind::kWord,
     .words = kSkipPolicies,
     .doc = "unified: the first, the last, and others at equal distances"},
    {.name = "speedup",
     .kind = ParameterKind::kNumber,
     .minimum = 1,
     .maximum = 64,
     .doc = "layers of the whole route per layer that runs"},
};

inline constexpr std::string_view kExitMeasures[] = {"token", "stream"};
inline constexpr Parameter kExitParameters[] = {
    {.name = "confidence",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1,
     .doc = "what the measure must reach"},
    {.name = "by",
     .kind = ParameterKind::kWord,
     .fallback = "token",
     .words = kExitMeasures,
     .doc = "token: probability of the likeliest next token; stream: cosine of the stream before and after a layer"},
    {.name = "from",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = kMaxLayerIndex,
     .fallback = "half of the route",
     .doc = "the first visit of the route after which it may end"},
    {.name = "every",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = kMaxLayerIndex,
     .fallback = "4",
     .doc = "visits from one look to the next; a look by token costs a product with the vocabulary"},
};

inline constexpr Parameter kRouterParameters[] = {
    {.name = "router", .kind = ParameterKind::kText, .doc = "a file of `lamina route-fit`, of the same weights"},
};
inline constexpr std::string_view kRouterAlone = "a router was fitted for the whole route, and decides alone";
inline constexpr Conflict kBesidesRouter[] = {
    {Place::kRoute, "list", kRouterAlone},  {Place::kRoute, "skip", kRouterAlone},
    {Place::kRoute, "exit", kRouterAlone},  {Place::kDecode, "lfd", kRouterAlone},
    {Place::kDraft, "ngram", kRouterAlone}, {Place::kDraft, "route", kRouterAlone},
    {Place::kDraft, "model", kRouterAlone}, {Place::kDecode, "reweave", kRouterAlone},
    {Place::kRoute, "first", kRouterAlone}};
inline constexpr std::span<const Conflict> kBesidesFirst =
    std::span(kBesidesRouter).first(std::size(kBesidesRouter) - 1);

inline constexpr Parameter kLfdParameters[] = {
    {.name = "layer",
     .kind = ParameterKind::kInteger,
     .minimum = 0,
     .maximum = kMaxLayerIndex,
     .doc = "after which logits are made too; one of the second half, before the layers that add most of what the "
            "model knows"},
    {.name = "weight",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 10,
     .fallback = "1",
     .doc = "of that layer's log probabilities; 0 changes no bit"},
    {.name = "share",
     .kind = ParameterKind::kNumber,
     .minimum = 1e-6,
     .maximum = 1,
     .fallback = "0.1",
     .doc = "tokens with that share of the likeliest one's probability gain or lose; the others lose as the worst of "
            "them"},
};

inline constexpr std::string_view kReweaveStates[] = {"same", "next"};
inline constexpr Parameter kReweaveParameters[] = {
    {.name = "layers", .kind = ParameterKind::kLayers, .doc = "after which states are kept and woven in"},
    {.name = "weight",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1,
     .fallback = "0.1",
     .doc = "share of the stream that kept states replace, brought to its length; 0 changes no bit"},
    {.name = "keep",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = 4096,
     .fallback = "64",
     .doc = "states of a text after each layer, at most; then each new one takes the place of the one most like it"},
    {.name = "sharpness",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1000,
     .fallback = "16",
     .doc = "how much more the like ones weigh: the exponential of so many times the cosine"},
    {.name = "by",
     .kind = ParameterKind::kWord,
     .fallback = "same",
     .words = kReweaveStates,
     .doc = "same: kept states themselves are woven in; next: those of the tokens after theirs"},
};
inline constexpr std::string_view kNoRewind = "what is kept of a text cannot be set back by some tokens";
inline constexpr Conflict kBesidesReweave[] = {
    {Place::kRoute, "exit", "a token that has left has no states after later layers"},
    {Place::kDraft, "ngram", kNoRewind},
    {Place::kDraft, "route", kNoRewind},
    {Place::kDraft, "model", kNoRewind}};

inline constexpr std::string_view kOneDraft = "one draft at a time";
inline constexpr Conflict kOtherDrafts[] = {{Place::kDraft, "route", kOneDraft}, {Place::kDraft, "model", kOneDraft}};

inline constexpr std::string_view kDraftTimes[] = {"pays", "always"};
inline constexpr Parameter kDraftTokens{.name = "tokens",
                                        .kind = ParameterKind::kInteger,
                                        .minimum = 1,
                                        .maximum = 64,
                                        .fallback = "8",
                                        .doc = "guessed at once, at most; fewer where guesses were wrong"};
inline constexpr Parameter kDraftConfidence{.name = "confidence",
                                            .kind = ParameterKind::kNumber,
                                            .minimum = 0,
                                            .maximum = 1,
                                            .fallback = "0.4",
                                            .doc = "guessing stops where the likeliest token has less probability"};
inline constexpr Parameter kDraftWhen{.name = "when",
                                      .kind = ParameterKind::kWord,
                                      .fallback = "pays",
                                      .words = kDraftTimes,
                                      .doc = "pays: not while it is measured to be slower; always: for measurements"};
inline constexpr Parameter kNgramParameters[] = {
    kDraftTokens,
    {.name = "match",
     .kind = ParameterKind::kInteger,
     .minimum = 1,
     .maximum = 16,
     .fallback = "2",
     .doc = "so many of the last tokens at least must have stood in the text before"},
    kDraftWhen,
};
inline constexpr Parameter kDraftRouteParameters[] = {
    {.name = "skip", .kind = ParameterKind::kLayers, .fallback = "none", .doc = "layers left out while guessing"},
    {.name = "attn", .kind = ParameterKind::kLayers, .fallback = "none", .doc = "layers whose attention is left out"},
    {.name = "mlp", .kind = ParameterKind::kLayers, .fallback = "none", .doc = "layers whose MLP is left out"},
    kDraftTokens,
    kDraftConfidence,
    kDraftWhen,
};
inline constexpr Parameter kDraftModelParameters[] = {
    {.name = "model", .kind = ParameterKind::kText, .doc = "a file, a folder or a name in the store"},
    kDraftTokens,
    kDraftConfidence,
    kDraftWhen,
};

inline constexpr std::string_view kOneCacheFormat = "a cache has one number format";
inline constexpr Conflict kOtherCaches[] = {
    {Place::kKv, "f32", kOneCacheFormat}, {Place::kKv, "bf16", kOneCacheFormat}, {Place::kKv, "q8_0", kOneCacheFormat}};

inline constexpr Technique kRunTechniques[] = {
    {.name = "list",
     .place = Place::kRoute,
     .summary = "runs the listed layers in the listed order; written without its name",
     .parameters = kListParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .conflicts = kOtherRoutes,
     .paper = "Li et al. 2025, Skip a Layer or Loop it? (arXiv 2507.07996)",
     .example = "route:0-1,1"},
    {.name = "skip",
     .place = Place::kRoute,
     .summary = "leaves out as many layers as a speedup asks for, the same ones for every token",
     .parameters = kSkipParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .paper = "Liu et al. 2024, Accelerating Inference in Large Language Models with a Unified Layer Skipping Strategy "
              "(arXiv 2404.06954)",
     .example = "route:skip(unified,speedup=2)"},
    {.name = "exit",
     .place = Place::kRoute,
     .summary = "ends the route of a token that is sure enough; later layers keep its keys as it left",
     .parameters = kExitParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .paper = "Schuster et al. 2022, Confident Adaptive Language Modeling (arXiv 2207.07061)",
     .example = "route:exit(confidence=0.9)"},
    {.name = "first",
     .place = Place::kRoute,
     .summary = "reads the prompt with all layers, then leaves out those that a fitted router finds needless for it",
     .parameters = kRouterParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .conflicts = kBesidesFirst,
     .paper = "Jain et al. 2024, FiRST (arXiv 2410.12513)",
     .example = "route:first(\"router.safetensors\")"},
    {.name = "drllm",
     .place = Place::kRoute,
     .summary = "leaves out, runs or repeats each layer as a fitted router decides for the prompt, which is read twice",
     .parameters = kRouterParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .conflicts = kBesidesRouter,
     .paper = "Heakl et al. 2025, Dr.LLM (arXiv 2510.12773)",
     .example = "route:drllm(\"paths.safetensors\")"},
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
    {.name = "lfd",
     .place = Place::kDecode,
     .summary = "joins the logits of an earlier layer to those of the last, for answers that keep to the prompt",
     .parameters = kLfdParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .paper = "LFD: Layer Fused Decoding to Exploit External Knowledge in Retrieval-Augmented Generation (2025)",
     .example = "decode:lfd(layer=0)"},
    {.name = "reweave",
     .place = Place::kDecode,
     .summary = "keeps states of a text's tokens after some layers, and weaves those most like it into each later one",
     .parameters = kReweaveParameters,
     .needs = kStack,
     .effect = Effect::kLossy,
     .conflicts = kBesidesReweave,
     .paper = "Contextual Memory Reweaving in Large Language Models Using Layered Latent State Reconstruction (2025), "
              "without training",
     .example = "decode:reweave(layers=0)"},
    {.name = "ngram",
     .place = Place::kDraft,
     .summary = "guesses that the text goes on as it did where its last tokens stood before",
     .parameters = kNgramParameters,
     .needs = kRewinds,
     .effect = Effect::kExact,
     .conflicts = kOtherDrafts,
     .paper = "Saxena 2023, Prompt Lookup Decoding; Leviathan et al. 2023 (arXiv 2211.17192)",
     .example = "draft:ngram"},
    {.name = "route",
     .place = Place::kDraft,
     .summary = "guesses with the model's own layers, some left out, over the same cache",
     .parameters = kDraftRouteParameters,
     .needs = kStackThatRewinds,
     .effect = Effect::kExact,
     .conflicts = std::span(kOtherDrafts).subspan<1>(),
     .paper = "Zhang et al. 2023, Draft & Verify (arXiv 2309.08168)",
     .example = "draft:route(skip=0)"},
    {.name = "model",
     .place = Place::kDraft,
     .summary = "guesses with a smaller model of the same vocabulary",
     .parameters = kDraftModelParameters,
     .needs = kRewinds,
     .effect = Effect::kExact,
     .paper = "Leviathan et al. 2023, Fast Inference from Transformers via Speculative Decoding (arXiv 2211.17192)",
     .example = "draft:model(\"draft.gguf\")"},
};

}  // namespace lamina::recipe

#pragma once

#include <span>
#include <string_view>

#include "recipe/technique.h"

// How models are merged: rows of the table in technique.cpp.
namespace lamina::recipe {

inline constexpr Parameter kShares = {
    .name = "weights",
    .kind = ParameterKind::kText,
    .fallback = "equal",
    .doc = "a number for each model, as \"0.3,0.7\", of those after --base where there is one"};
inline constexpr Parameter kScale = {.name = "scale",
                                     .kind = ParameterKind::kNumber,
                                     .fallback = "1",
                                     .doc = "what the sum of differences from the base is multiplied by"};
inline constexpr Parameter kDensity = {.name = "density",
                                       .kind = ParameterKind::kNumber,
                                       .minimum = 0.001,
                                       .maximum = 1,
                                       .fallback = "0.5",
                                       .doc = "share of the differences from the base that is kept"};
inline constexpr Parameter kLinearParameters[] = {kShares};
inline constexpr Parameter kSlerpParameters[] = {{.name = "t",
                                                  .kind = ParameterKind::kNumber,
                                                  .minimum = 0,
                                                  .maximum = 1,
                                                  .fallback = "0.5",
                                                  .doc = "the way from the first model to the second"}};
inline constexpr Parameter kArithmeticParameters[] = {kShares, kScale};
inline constexpr Parameter kTiesParameters[] = {kDensity, kShares, kScale};
inline constexpr Parameter kDareParameters[] = {kDensity,
                                                kShares,
                                                kScale,
                                                {.name = "seed",
                                                 .kind = ParameterKind::kInteger,
                                                 .minimum = 0,
                                                 .maximum = 1e15,
                                                 .fallback = "1",
                                                 .doc = "of the choice which differences are kept"}};

inline constexpr std::string_view kRegressionInputs[] = {"merged", "own"};
inline constexpr Parameter kRegmeanParameters[] = {
    {.name = "alpha",
     .kind = ParameterKind::kNumber,
     .minimum = 0,
     .maximum = 1,
     .fallback = "0.95",
     .doc = "products of two different inputs are multiplied by it; 0: a mean by the inputs' squares"},
    {.name = "inputs",
     .kind = ParameterKind::kWord,
     .fallback = "merged",
     .words = kRegressionInputs,
     .doc = "a layer reads what the merged layers before it make of a text, or what each model's own do"},
    {.name = "tokens",
     .kind = ParameterKind::kInteger,
     .minimum = 16,
     .maximum = 1 << 24,
     .fallback = "8192",
     .doc = "of each text, at most"},
    kShares,
};

inline constexpr std::string_view kOneMerge = "models are merged in one way";
inline constexpr Conflict kOtherMerges[] = {
    {Place::kMerge, "linear", kOneMerge}, {Place::kMerge, "slerp", kOneMerge}, {Place::kMerge, "arithmetic", kOneMerge},
    {Place::kMerge, "ties", kOneMerge},   {Place::kMerge, "dare", kOneMerge},  {Place::kMerge, "regmean", kOneMerge}};

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
inline constexpr Technique kMerges[] = {
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
    merge_row("regmean", "the matrices whose outputs on calibration text differ least from each model's own",
              kRegmeanParameters, "merge:regmean",
              "Jin et al. 2022, RegMean (arXiv 2212.09849); Nguyen et al. 2025, RegMean++ (layer by layer)"),
};

}  // namespace lamina::recipe

#pragma once

#include <string_view>

#include "recipe/technique.h"

// The contract: what a recipe may say, what is promised, and where the idea is from. Copy the three files under another
// name, and give this namespace that name: the build finds them, and `lamina techniques` lists them.
namespace lamina::extend::clip {

inline constexpr recipe::Parameter kParameters[] = {
    {.name = "deviations",
     .kind = recipe::ParameterKind::kNumber,
     .minimum = 1,
     .maximum = 100,
     .fallback = "4",
     .doc = "the largest size that is left, in root mean squares of the row"},
};

/// What stands between "L*." and ":clip"; "" is the whole layer.
inline constexpr std::string_view kParts[] = {"", "attn", "mlp", "q", "k", "v", "o", "gate", "up", "down"};

inline constexpr recipe::Technique kTechnique = {
    .name = "clip",
    .place = recipe::Place::kWeights,
    .summary = "draws the few numbers of a row that are far larger than the others back to a bound",
    .parameters = kParameters,
    .parts = kParts,
    .effect = recipe::Effect::kLossy,
    .paper = "Banner et al. 2018, ACIQ (arXiv 1810.05723), which finds the bound by theory",
    .writes = true,
    .example = "L*.mlp:clip(deviations=4)"};

}  // namespace lamina::extend::clip

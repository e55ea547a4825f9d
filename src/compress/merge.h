#pragma once

#include <filesystem>
#include <vector>

#include "compress/pass.h"

namespace lamina::compress {

/// Models to be merged into one that is open: those after it, and the one that differences are taken from.
struct MergeSources {
  std::vector<std::filesystem::path> others{};
  std::filesystem::path base{};                ///< empty: none
  std::vector<std::filesystem::path> texts{};  ///< one for each model, the first one's first, or one for all

  bool empty() const { return others.empty(); }
};

/// Makes the numbers of the edited model those of all models together, by the recipe's clause at "merge" (linear where
/// it has none), one matrix or vector at a time. kInvalid: a rule that lacks its base, a text or a weight, or models
/// that do not fit together, with the tensor; kUnsupported: models in different containers.
core::Status merge_models(const recipe::Recipe& recipe, const MergeSources& sources, ModelEdit& edit,
                          std::vector<PassReport>& reports);

}  // namespace lamina::compress

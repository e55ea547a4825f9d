#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "compress/pass.h"

namespace lamina::compress {

/// How models are merged by regression.
struct RegressionRule {
  std::vector<double> weights{};  ///< one for each model: of its outputs' errors, and in plain means
  double alpha = 0.95;            ///< products of two different inputs are multiplied by it
  bool merged_inputs = true;      ///< layers read what the merged layers before them make; else what the model's own do
  int64_t tokens = 8192;          ///< of each text, at most
};

/// Jin et al. 2022, RegMean (arXiv 2212.09849), eq. 2: of each matrix, that whose outputs differ least, in squares over
/// all texts, from those of each model's own over its text; with `merged_inputs` layer after layer, as RegMean++
/// (Nguyen et al. 2025) does. All other numbers are means. `models` are read, the result is written to `edit`, which is
/// of the first one; texts are one for each model, or one for all. kInvalid: a text that is shorter than a window.
core::Status merge_by_regression(const RegressionRule& rule, std::span<const std::unique_ptr<ModelEdit>> models,
                                 std::span<const std::filesystem::path> texts, ModelEdit& edit, PassReport& report);

}  // namespace lamina::compress

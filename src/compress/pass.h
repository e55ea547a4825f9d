#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/edit.h"
#include "recipe/recipe.h"
#include "recipe/technique.h"

namespace lamina::compress {

/// What one pass did.
struct PassReport {
  std::string clause{};  ///< of the recipe, "L*.mlp:svd(rank=64)"
  double seconds = 0;
  std::string summary{};                ///< one line
  std::vector<std::string> notes{};     ///< what a user must know
  nlohmann::ordered_json details = {};  ///< scores and choices, for --json
};

/// One technique of a recipe's clause, to be carried out.
struct PassUse {
  const recipe::Clause& clause;
  const recipe::Step& step;
  const recipe::Technique& technique;
  /// The layers of the model so far that the clause selects, ascending; clauses number those of the model as opened.
  std::vector<int> layers(const ModelEdit& edit) const;
  /// Whether the clause selects this piece: its layer, and its part or key.
  bool selects(const Piece& piece, const ModelEdit& edit) const;
  /// Arguments, or their defaults.
  int64_t integer(std::string_view parameter) const;
  double number(std::string_view parameter) const;
  std::string word(std::string_view parameter) const;
  /// kInvalid at the clause.
  std::unexpected<core::Error> refuse(const std::string& why) const;
};

/// A technique that changes weights or structure when a model is written: one file each, one row in passes.cpp.
struct Pass {
  std::string_view technique;  ///< its name in `lamina techniques`
  /// Measures, refuses or changes, and reports. kInvalid names the recipe's character where the recipe is at fault.
  core::Status (*apply)(const PassUse& use, ModelEdit& edit, PassReport& report);
};

/// All passes, in the order in which they are carried out whatever the recipe's order: structure first, then what
/// changes numbers, those that only scale last.
std::span<const Pass> passes();

/// Carries out all techniques of the recipe that are passes. Formats are left to the encoder.
core::Status run_passes(const recipe::Recipe& recipe, ModelEdit& edit, std::vector<PassReport>& reports);

// The passes, by file.
core::Status drop_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status fold_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status units_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status experts_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status heads_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status tie_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status magnitude_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status wanda_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status svd_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status rotate_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status awq_pass(const PassUse& use, ModelEdit& edit, PassReport& report);
core::Status smooth_pass(const PassUse& use, ModelEdit& edit, PassReport& report);

}  // namespace lamina::compress

#include <algorithm>
#include <array>

#include "compress/added_passes.h"
#include "compress/pass.h"
#include "core/clock.h"
#include "recipe/plan.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

constexpr std::array kPasses{
    Pass{"drop", drop_pass},       Pass{"fold", fold_pass},
    Pass{"heads", heads_pass},     Pass{"units", units_pass},
    Pass{"experts", experts_pass}, Pass{"tie", tie_pass},
    Pass{"svd", svd_pass},         Pass{"magnitude", magnitude_pass},
    Pass{"wanda", wanda_pass},     Pass{"rotate", rotate_pass},
    Pass{"awq", awq_pass},         Pass{"smooth", smooth_pass},
};

/// Those of examples/extend and of other folders come last.
constexpr auto kAllPasses = [] {
  std::array<Pass, kPasses.size() + kAddedPasses.size()> all{};
  std::ranges::copy(kAddedPasses, std::ranges::copy(kPasses, all.begin()).out);
  return all;
}();

/// What a parameter without an argument stands for.
std::string_view fallback(const recipe::Technique& technique, std::string_view parameter) {
  for (const recipe::Parameter& one : technique.parameters) {
    if (one.name == parameter) return one.fallback;
  }
  return "0";
}

}  // namespace

std::vector<int> PassUse::layers(const ModelEdit& edit) const {
  std::vector<int> out;
  for (int layer = 0; layer < static_cast<int>(edit.model().layers().size()); ++layer) {
    if (recipe::selects(clause.where, edit.origin(layer), edit.source_layers())) out.push_back(layer);
  }
  return out;
}

bool PassUse::selects(const Piece& piece, const ModelEdit& edit) const {
  if (piece.layer < 0 || !recipe::selects(clause.where, edit.origin(piece.layer), edit.source_layers())) return false;
  const std::string& part = clause.where.part;
  return part.empty() || part == piece.role || part == piece.key;
}

int64_t PassUse::integer(std::string_view parameter) const {
  const recipe::Argument* found = recipe::find_argument(technique, step, parameter);
  return found != nullptr ? found->value.integer : std::stoll(std::string(fallback(technique, parameter)));
}

double PassUse::number(std::string_view parameter) const {
  const recipe::Argument* found = recipe::find_argument(technique, step, parameter);
  if (found == nullptr) return std::stod(std::string(fallback(technique, parameter)));
  return found->value.kind == recipe::Value::Kind::kInteger ? static_cast<double>(found->value.integer)
                                                            : found->value.number;
}

std::string PassUse::word(std::string_view parameter) const {
  const recipe::Argument* found = recipe::find_argument(technique, step, parameter);
  return found != nullptr ? found->value.text : std::string(fallback(technique, parameter));
}

std::unexpected<core::Error> PassUse::refuse(const std::string& why) const {
  return fail(ErrorCode::kInvalid, recipe::error_place(step.position), "{}:{}: {}", recipe::print(clause.where),
              recipe::print(step), why);
}

std::span<const Pass> passes() {
  return kAllPasses;
}

Status run_passes(const recipe::Recipe& recipe, ModelEdit& edit, std::vector<PassReport>& reports) {
  for (const Pass& pass : kAllPasses) {
    for (const recipe::Clause& clause : recipe.clauses) {
      for (const recipe::Step& step : clause.steps) {
        if (clause.where.place != recipe::Place::kWeights || step.technique != pass.technique) continue;
        const recipe::Technique& technique = *recipe::find_technique(recipe::Place::kWeights, step.technique);
        PassReport report{.clause = recipe::print(clause.where) + ":" + recipe::print(step)};
        const core::Stopwatch watch;
        LAMINA_CHECK_OK(pass.apply({.clause = clause, .step = step, .technique = technique}, edit, report));
        report.seconds = watch.seconds();
        reports.push_back(std::move(report));
      }
    }
  }
  return {};
}

}  // namespace lamina::compress

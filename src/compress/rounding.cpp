#include "compress/rounding.h"

#include "codec/grid.h"
#include "compress/bits.h"
#include "layers/weight_codecs.h"
#include "recipe/plan.h"
#include "recipe/technique.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

GptqOptions options_of(const recipe::Technique& technique, const recipe::Step& step) {
  GptqOptions options;
  if (const recipe::Argument* damp = recipe::find_argument(technique, step, "damp"); damp != nullptr) {
    const recipe::Value& value = damp->value;
    options.damp = value.kind == recipe::Value::Kind::kInteger ? static_cast<double>(value.integer) : value.number;
  }
  if (const recipe::Argument* order = recipe::find_argument(technique, step, "order"); order != nullptr) {
    using Order = GptqOptions::Order;
    options.order = order->value.text == "none"    ? Order::kNone
                    : order->value.text == "block" ? Order::kBlock
                                                   : Order::kAct;
  }
  return options;
}

bool selects(const recipe::Where& where, const OutputTensor& tensor, int layers) {
  if (!tensor.matrix || tensor.key == "router" || !recipe::selects(where, tensor.layer, layers)) return false;
  return where.part.empty() || where.part == tensor.role || where.part == tensor.key;
}

void add_note(OutputTensor& tensor, std::string_view note) {
  if (!tensor.note.empty()) tensor.note += "; ";
  tensor.note += note;
}

/// A recipe on its way to a model of that many layers.
struct Rounding {
  const recipe::Recipe& recipe;
  int layers = 0;
  const Importance& importance;
};

/// Why gptq finds nothing to round, and what would give it something.
Status nothing_to_round(const Rounding& rounding, const recipe::Clause& clause, const recipe::Step& step,
                        std::span<const OutputTensor> tensors) {
  LAMINA_ASSIGN(const layers::WeightCodecs codecs, layers::WeightCodecs::make(rounding.recipe, rounding.layers));
  const std::string where = recipe::print(clause.where);
  bool given = false;
  for (const OutputTensor& tensor : tensors) {
    if (!selects(clause.where, tensor, rounding.layers)) continue;
    const layers::WeightPlace place{.layer = tensor.layer, .role = tensor.role, .key = tensor.key};
    if (bits_selects(rounding.recipe, rounding.layers, place)) {
      return fail(ErrorCode::kInvalid, recipe::error_place(step.position),
                  "gptq finds nothing to round: the budget lets bits leave every matrix of {} in the format that it "
                  "has; a smaller budget, or bits without gptq, expected",
                  where);
    }
    given = given || codecs.find(place) != nullptr;
  }
  if (given) {
    return fail(ErrorCode::kInvalid, recipe::error_place(step.position),
                "gptq finds nothing to round: every matrix of {} has the format already that the recipe gives it; "
                "another format expected",
                where);
  }
  return fail(ErrorCode::kInvalid, recipe::error_place(step.position),
              "gptq finds no matrix that is given another format; join one to it, as in {}:gptq+q4_k", where);
}

Status apply(const Rounding& rounding, const recipe::Clause& clause, const recipe::Step& step,
             std::span<OutputTensor> tensors) {
  if (!rounding.importance.has_grams()) {
    return fail(ErrorCode::kInvalid, recipe::error_place(step.position),
                "gptq needs Gram matrices of what the matrices read: make statistics with `lamina stats --gram` and "
                "give them by --stats");
  }
  const GptqOptions options = options_of(*recipe::find_technique(clause.where.place, "gptq"), step);
  bool any = false;
  for (OutputTensor& tensor : tensors) {
    if (!selects(clause.where, tensor, rounding.layers) || tensor.rows.empty()) continue;
    any = true;
    if (tensor.half != OutputTensor::Half::kWhole) {
      add_note(tensor, "not rounded by gptq: pairs and exponents lie in two tensors");
    } else if (codec::find_grid(tensor.codec()) == nullptr) {
      add_note(tensor, "not rounded by gptq: the format has no scales");
    } else {
      tensor.gptq = options;
    }
  }
  return any ? Status() : nothing_to_round(rounding, clause, step, tensors);
}

}  // namespace

Status choose_rounding(const recipe::Recipe& recipe, int layers, const Importance& importance,
                       std::span<OutputTensor> tensors) {
  for (const recipe::Clause& clause : recipe.clauses) {
    if (clause.where.place != recipe::Place::kWeights) continue;
    for (const recipe::Step& step : clause.steps) {
      if (step.technique != "gptq") continue;
      LAMINA_CHECK_OK(apply({.recipe = recipe, .layers = layers, .importance = importance}, clause, step, tensors));
    }
  }
  return {};
}

}  // namespace lamina::compress

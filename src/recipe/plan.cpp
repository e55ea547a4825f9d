#include "recipe/plan.h"

#include <algorithm>
#include <iterator>

#include "recipe/technique.h"

namespace lamina::recipe {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

/// Writes `range` without an open end, or says which layer the model lacks.
Result<LayerRange> close_range(LayerRange range, const ModelFacts& facts) {
  const int highest = std::max(range.first, range.last);
  if (highest >= facts.layers) {
    return fail(ErrorCode::kInvalid, error_place(range.position), "layer {}: the model has {} layers, 0 to {}", highest,
                facts.layers, facts.layers - 1);
  }
  if (range.last == LayerRange::kOpen) range.last = facts.layers - 1;
  return range;
}

Visit whole_visit(int layer, const ModelFacts& facts) {
  if (facts.sublayers.empty()) return {.layer = layer};
  const LayerFacts& sublayers = facts.sublayers[static_cast<size_t>(layer)];
  return {.layer = layer, .attention = sublayers.attention, .mlp = sublayers.mlp, .cross = sublayers.cross};
}

/// One technique of a clause on its way into the plan.
struct Application {
  const Clause& clause;
  const Step& step;
  const Technique& technique;
  const ModelFacts& facts;
};

Status apply_list(const Application& use, RunPlan& plan) {
  plan.route.clear();
  for (const LayerRange& written : layers_argument(use.technique, use.step, "layers")) {
    LAMINA_ASSIGN(const LayerRange range, close_range(written, use.facts));
    const size_t length = plan.route.size() + static_cast<size_t>(range.last - range.first + 1);
    if (length > kMaxRoute) {
      return fail(ErrorCode::kLimit, error_place(range.position), "the route has more than {} visits", kMaxRoute);
    }
    for (int layer = range.first; layer <= range.last; ++layer) plan.route.push_back(whole_visit(layer, use.facts));
  }
  return {};
}

Status apply_drop(const Application& use, RunPlan& plan) {
  const Where& where = use.clause.where;
  if (const Argument* count = find_argument(use.technique, use.step, "count");
      count != nullptr && count->value.integer > 0) {
    return fail(ErrorCode::kUnsupported, error_place(use.step.position),
                "drop with a count chooses by statistics when a model is written: `lamina compress --stats`");
  }
  std::vector<bool> selected(static_cast<size_t>(use.facts.layers));
  for (const LayerRange& written : where.layers) {
    LAMINA_ASSIGN(const LayerRange range, close_range(written, use.facts));
    for (int layer = range.first; layer <= range.last; ++layer) selected[static_cast<size_t>(layer)] = true;
  }
  bool changed = false;
  for (Visit& visit : plan.route) {
    if (!selected[static_cast<size_t>(visit.layer)]) continue;
    const Visit before = visit;
    const auto named = [&](std::string_view part) { return where.part.empty() || where.part == part; };
    if (named("attn")) visit.attention = false;
    if (named("mlp")) visit.mlp = false;
    if (named("cross")) visit.cross = false;
    changed = changed || visit != before;
  }
  if (!changed) {
    return fail(ErrorCode::kInvalid, error_place(where.position),
                "{}:drop removes nothing; name layers that the route visits and that have this part", print(where));
  }
  return {};
}

Status apply_kv_format(const Application& use, RunPlan& plan) {
  plan.kv_format = use.technique.name;
  return {};
}

Status add_format(const Clause& clause, const Step& step, const ModelFacts& facts, RunPlan& plan) {
  for (const LayerRange& written : clause.where.layers) LAMINA_CHECK_OK(close_range(written, facts));
  plan.weights.push_back({clause.where, step.technique});
  return {};
}

Status add_formats(const Recipe& recipe, const ModelFacts& facts, RunPlan& plan) {
  for (const Clause& clause : recipe.clauses) {
    for (const Step& step : clause.steps) {
      if (!find_technique(clause.where.place, step.technique)->sets_format) continue;
      LAMINA_CHECK_OK(add_format(clause, step, facts, plan));
    }
  }
  std::ranges::sort(plan.weights, {}, [](const WeightFormat& format) { return print(format.where); });
  return {};
}

/// What carries out each technique, in the order in which they are applied: the route is made before it is thinned.
struct Row {
  Place place;
  std::string_view name;
  Status (*apply)(const Application& use, RunPlan& plan);
};
constexpr Row kRows[] = {
    {Place::kRoute, "list", apply_list},  {Place::kWeights, "drop", apply_drop}, {Place::kKv, "f16", apply_kv_format},
    {Place::kKv, "f32", apply_kv_format}, {Place::kKv, "bf16", apply_kv_format}, {Place::kKv, "q8_0", apply_kv_format},
};

/// What changes a file cannot be done while a model runs.
Status check_runs(const Recipe& recipe) {
  for (const Clause& clause : recipe.clauses) {
    for (const Step& step : clause.steps) {
      if (!find_technique(clause.where.place, step.technique)->writes) continue;
      return fail(ErrorCode::kUnsupported, error_place(step.position),
                  "{} changes what a file holds; `lamina {}` carries it out", step.technique,
                  clause.where.place == Place::kMerge ? "merge" : "compress");
    }
  }
  return {};
}

bool meets(const ModelFacts& facts, Need need) {
  switch (need) {
    case Need::kLayerStack:
      return facts.layers > 0;
    case Need::kKeyValueCache:
      return facts.key_value_cache;
  }
  return false;
}

Status apply_row(const Row& row, const Recipe& recipe, const ModelFacts& facts, RunPlan& plan) {
  const Technique* technique = find_technique(row.place, row.name);
  for (const Clause& clause : recipe.clauses) {
    if (clause.where.place != row.place) continue;
    for (const Step& step : clause.steps) {
      if (step.technique != row.name) continue;
      for (const Need need : technique->needs) {
        if (!meets(facts, need)) {
          return fail(ErrorCode::kUnsupported, error_place(step.position), "{} needs {}, which this model lacks",
                      row.name, need_name(need));
        }
      }
      LAMINA_CHECK_OK(row.apply({.clause = clause, .step = step, .technique = *technique, .facts = facts}, plan));
    }
  }
  return {};
}

}  // namespace

bool selects(const Where& where, int layer, int layers) {
  if (layer < 0 || layer >= layers) return false;
  return std::ranges::any_of(where.layers, [&](const LayerRange& range) {
    return layer >= range.first && (range.last == LayerRange::kOpen || layer <= range.last);
  });
}

Result<RunPlan> plan(const Recipe& recipe, const ModelFacts& facts) {
  if (facts.layers < 0 || (!facts.sublayers.empty() && std::ssize(facts.sublayers) != facts.layers)) {
    return fail(ErrorCode::kInvalid, "model", "{} layers, {} of them described; as many expected", facts.layers,
                facts.sublayers.size());
  }
  LAMINA_CHECK_OK(validate(recipe));
  LAMINA_CHECK_OK(check_runs(recipe));
  RunPlan result;
  if (!facts.key_value_cache) result.kv_format = "f32";
  for (int layer = 0; facts.route.empty() && layer < facts.layers; ++layer)
    result.route.push_back(whole_visit(layer, facts));
  for (const int layer : facts.route) result.route.push_back(whole_visit(layer, facts));
  for (const Row& row : kRows) LAMINA_CHECK_OK(apply_row(row, recipe, facts, result));
  LAMINA_CHECK_OK(add_formats(recipe, facts, result));
  std::erase_if(result.route, [](const Visit& visit) { return !visit.attention && !visit.mlp && !visit.cross; });
  if (result.route.empty()) {
    return fail(ErrorCode::kInvalid, "recipe", "no layer is left to run; keep at least one");
  }
  if (result.route.size() > kMaxRoute) {
    return fail(ErrorCode::kLimit, "recipe", "the route has more than {} visits", kMaxRoute);
  }
  return result;
}

}  // namespace lamina::recipe

#include "recipe/plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <tuple>
#include <utility>

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
    plan.route.back().beside = range.beside;
  }
  return {};
}

/// The number given for a parameter, or what holds when there is none.
double number_argument(const Application& use, std::string_view parameter, double otherwise) {
  const Argument* given = find_argument(use.technique, use.step, parameter);
  if (given == nullptr) return otherwise;
  return given->value.kind == Value::Kind::kInteger ? static_cast<double>(given->value.integer) : given->value.number;
}

int integer_argument(const Application& use, std::string_view parameter, int otherwise) {
  return static_cast<int>(number_argument(use, parameter, otherwise));
}

std::string text_argument(const Application& use, std::string_view parameter, std::string_view otherwise) {
  const Argument* given = find_argument(use.technique, use.step, parameter);
  return given == nullptr ? std::string(otherwise) : given->value.text;
}

/// Liu et al. 2024, Unified Layer Skipping: m = round(L / speedup) layers, of which the k-th is round(k (L - 1) / (m -
/// 1)).
Status apply_skip(const Application& use, RunPlan& plan) {
  const auto layers = static_cast<double>(plan.route.size());
  const double speedup = number_argument(use, "speedup", 1);
  const double kept = std::max(1.0, std::round(layers / speedup));
  std::vector<Visit> route;
  for (double k = 0; k < kept; ++k) {
    const double index = kept > 1 ? std::round(k * (layers - 1) / (kept - 1)) : 0;
    route.push_back(plan.route[static_cast<size_t>(index)]);
  }
  plan.route = std::move(route);
  return {};
}

/// Takes out what does not run; the layers beside it stay beside each other.
void erase_empty_visits(std::vector<Visit>& route) {
  std::vector<Visit> kept;
  bool alone = false;  // the visit that those beside it are beside of is gone
  for (const Visit& visit : route) {
    if (!visit.beside) alone = true;
    if (!visit.attention && !visit.mlp && !visit.cross) continue;
    kept.push_back(visit);
    if (std::exchange(alone, false)) kept.back().beside = false;
  }
  route = std::move(kept);
}

Status apply_exit(const Application& use, RunPlan& plan) {
  erase_empty_visits(plan.route);
  const int visits = static_cast<int>(plan.route.size());
  const int from = integer_argument(use, "from", std::max(0, std::min(visits / 2, visits - 2)));
  const int every = integer_argument(use, "every", 4);
  // After the last visit there is nothing left to leave out.
  if (from >= visits - 1) {
    return fail(ErrorCode::kInvalid, error_place(use.step.position),
                "exit from visit {} on leaves nothing out of a route of {} visits; a smaller from or a longer route "
                "expected",
                from, visits);
  }
  if (std::ranges::any_of(plan.route, &Visit::beside)) {
    return fail(ErrorCode::kUnsupported, error_place(use.step.position),
                "exit does not go with layers side by side: there is no border between them");
  }
  plan.exit = ExitPlan{.confidence = number_argument(use, "confidence", 1),
                       .by_stream = text_argument(use, "by", "token") == "stream",
                       .checks = std::vector<bool>(plan.route.size())};
  for (int visit = from; visit < visits - 1; visit += every) plan.exit->checks[static_cast<size_t>(visit)] = true;
  return {};
}

Status apply_first(const Application& use, RunPlan& plan) {
  plan.router = RouterPlan{.kind = RouterPlan::Kind::kFirst, .file = text_argument(use, "router", "")};
  return {};
}

Status apply_drllm(const Application& use, RunPlan& plan) {
  plan.router = RouterPlan{.kind = RouterPlan::Kind::kDrllm, .file = text_argument(use, "router", "")};
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

Status apply_input_share(const Application& use, RunPlan& plan) {
  const Where& where = use.clause.where;
  for (const LayerRange& written : where.layers) LAMINA_CHECK_OK(close_range(written, use.facts));
  plan.shares.push_back({where, input_share(use.step)});
  std::ranges::sort(plan.shares, {}, [](const InputShare& share) { return print(share.where); });
  return {};
}

Status apply_lfd(const Application& use, RunPlan& plan) {
  erase_empty_visits(plan.route);
  const int layer = integer_argument(use, "layer", 0);
  const auto& route = plan.route;
  const auto last = std::ranges::find(route.rbegin(), route.rend(), layer, &Visit::layer);
  if (last == route.rend() || last == route.rbegin()) {
    return fail(ErrorCode::kInvalid, error_place(use.step.position),
                "lfd takes logits after layer {}, {}; one that the route visits before its end expected", layer,
                last == route.rend() ? "which the route does not visit" : "with which the route ends");
  }
  if (last->beside || (last - 1)->beside) {
    return fail(ErrorCode::kUnsupported, error_place(use.step.position),
                "layer {} runs side by side with others: there is no border after it", layer);
  }
  plan.fuse = FusePlan{
      .layer = layer, .weight = number_argument(use, "weight", 1), .share = number_argument(use, "share", 0.1)};
  return {};
}

Status apply_reweave(const Application& use, RunPlan& plan) {
  erase_empty_visits(plan.route);
  const std::vector<Visit>& route = plan.route;
  ReweavePlan wanted{.weight = number_argument(use, "weight", 0.1),
                     .keep = integer_argument(use, "keep", 64),
                     .sharpness = number_argument(use, "sharpness", 16),
                     .next = text_argument(use, "by", "same") == "next"};
  for (const LayerRange& written : layers_argument(use.technique, use.step, "layers")) {
    LAMINA_ASSIGN(const LayerRange range, close_range(written, use.facts));
    for (int layer = range.first; layer <= range.last; ++layer) wanted.layers.push_back(layer);
  }
  std::ranges::sort(wanted.layers);
  const auto repeated = std::ranges::unique(wanted.layers);
  wanted.layers.erase(repeated.begin(), repeated.end());
  for (const int layer : wanted.layers) {
    bool visited = false;
    for (size_t i = 0; i < route.size(); ++i) {
      if (route[i].layer != layer) continue;
      visited = true;
      if (!route[i].beside && (i + 1 == route.size() || !route[i + 1].beside)) continue;
      return fail(ErrorCode::kUnsupported, error_place(use.step.position),
                  "layer {} runs side by side with others: there is no border after it", layer);
    }
    if (!visited) {
      return fail(ErrorCode::kInvalid, error_place(use.step.position),
                  "reweave keeps states after layer {}, which the route does not visit", layer);
    }
  }
  plan.reweave = std::move(wanted);
  return {};
}

DraftPlan draft_of(const Application& use, DraftPlan::Source source) {
  return {.source = source,
          .tokens = integer_argument(use, "tokens", 8),
          .always = text_argument(use, "when", "pays") == "always"};
}

Status apply_ngram(const Application& use, RunPlan& plan) {
  plan.draft = draft_of(use, DraftPlan::Source::kNgram);
  plan.draft->match = integer_argument(use, "match", 2);
  return {};
}

Status apply_draft_route(const Application& use, RunPlan& plan) {
  plan.draft = draft_of(use, DraftPlan::Source::kRoute);
  plan.draft->confidence = number_argument(use, "confidence", 0.4);
  std::vector<Visit>& route = plan.draft->route;
  route = plan.route;
  for (const auto& [parameter, attention, mlp] :
       {std::tuple("skip", true, true), std::tuple("attn", true, false), std::tuple("mlp", false, true)}) {
    for (const LayerRange& written : layers_argument(use.technique, use.step, parameter)) {
      LAMINA_ASSIGN(const LayerRange range, close_range(written, use.facts));
      for (Visit& visit : route) {
        if (visit.layer < range.first || visit.layer > range.last) continue;
        visit.attention = visit.attention && !attention;
        visit.mlp = visit.mlp && !mlp;
        visit.cross = visit.cross && !(attention && mlp);
      }
    }
  }
  if (route == plan.route) {
    return fail(ErrorCode::kInvalid, error_place(use.step.position),
                "route leaves nothing out, so it would guess no faster; skip, attn or mlp with layers that run "
                "expected");
  }
  erase_empty_visits(route);
  if (route.empty()) {
    return fail(ErrorCode::kInvalid, error_place(use.step.position),
                "no layer is left to guess with; keep at least one");
  }
  return {};
}

Status apply_draft_model(const Application& use, RunPlan& plan) {
  plan.draft = draft_of(use, DraftPlan::Source::kModel);
  plan.draft->confidence = number_argument(use, "confidence", 0.4);
  plan.draft->model = text_argument(use, "model", "");
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
    {Place::kRoute, "list", apply_list},         {Place::kRoute, "skip", apply_skip},
    {Place::kWeights, "drop", apply_drop},       {Place::kRoute, "exit", apply_exit},
    {Place::kRoute, "first", apply_first},       {Place::kRoute, "drllm", apply_drllm},
    {Place::kKv, "f16", apply_kv_format},        {Place::kKv, "f32", apply_kv_format},
    {Place::kKv, "bf16", apply_kv_format},       {Place::kKv, "q8_0", apply_kv_format},
    {Place::kDecode, "lfd", apply_lfd},          {Place::kDecode, "reweave", apply_reweave},
    {Place::kDraft, "ngram", apply_ngram},       {Place::kDraft, "route", apply_draft_route},
    {Place::kDraft, "model", apply_draft_model}, {Place::kWeights, kInputShare, apply_input_share},
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
    case Need::kRewinding:
      return !facts.recurrent;
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

std::string route_text(std::span<const Visit> route) {
  const auto plain = [&](size_t i) {
    const bool joined = route[i].beside || (i + 1 < route.size() && route[i + 1].beside);
    return !joined && route[i].attention && route[i].mlp;
  };
  std::string text;
  for (size_t i = 0; i < route.size(); ++i) {
    const bool opens = !route[i].beside && i + 1 < route.size() && route[i + 1].beside;
    const bool closes = route[i].beside && (i + 1 == route.size() || !route[i + 1].beside);
    if (!text.empty()) text += route[i].beside ? '|' : ',';
    text += fmt::format("{}{}", opens ? "(" : "", route[i].layer);
    size_t last = i;
    while (plain(i) && last + 1 < route.size() && plain(last + 1) && route[last + 1].layer == route[last].layer + 1)
      ++last;
    if (last > i) text += fmt::format("-{}", route[last].layer);
    i = last;
    if (!route[i].mlp) text += ".attn";
    if (!route[i].attention) text += route[i].mlp ? ".mlp" : ".cross";
    if (closes) text += ')';
  }
  return text;
}

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
  erase_empty_visits(result.route);
  if (result.route.empty()) {
    return fail(ErrorCode::kInvalid, "recipe", "no layer is left to run; keep at least one");
  }
  if (result.route.size() > kMaxRoute) {
    return fail(ErrorCode::kLimit, "recipe", "the route has more than {} visits", kMaxRoute);
  }
  return result;
}

}  // namespace lamina::recipe

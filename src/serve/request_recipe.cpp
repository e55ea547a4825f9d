#include "serve/request_recipe.h"

#include <algorithm>

#include "recipe/recipe.h"
#include "run/plan_recipe.h"

namespace lamina::serve {

namespace {

bool is_draft(const recipe::Clause& clause) {
  return clause.where.place == recipe::Place::kDraft;
}

bool changes_the_route_alone(const recipe::Clause& clause) {
  if (clause.where.place == recipe::Place::kRoute) return true;
  return clause.where.place == recipe::Place::kWeights &&
         std::ranges::all_of(clause.steps, [](const recipe::Step& step) { return step.technique == "drop"; });
}

/// What the request's own draft needs is there: a model would have to be loaded first.
core::Status check_draft(const recipe::DraftPlan& draft, const run::Runner& runner) {
  if (draft.source == recipe::DraftPlan::Source::kModel) {
    return core::fail(core::ErrorCode::kUnsupported, "draft",
                      "a model that guesses is loaded with the server; ngram or route expected");
  }
  if (draft.source == recipe::DraftPlan::Source::kRoute) LAMINA_CHECK_OK(runner.plan_route(draft.route));
  return {};
}

std::unexpected<Refusal> refuse_recipe(const core::Error& error) {
  return refuse(400, "recipe", "{}", error.text());
}

}  // namespace

Answer<void> read_recipe(const Json& body, const ServedModel& model, GenerationJob& job) {
  const auto text = value_of<std::string>(body, "recipe", "");
  if (text.empty()) return {};
  const auto parsed = recipe::parse(text);
  if (!parsed) return refuse_recipe(parsed.error());
  for (const recipe::Clause& clause : parsed->clauses) {
    if (is_draft(clause) || changes_the_route_alone(clause)) continue;
    return refuse(400, "recipe",
                  "recipe: {}: only route:, drop and draft: are for one request; others are the server's",
                  recipe::print({.clauses = {clause}}));
  }
  const auto plan = run::plan_recipe(text, *model.model);
  if (!plan) return refuse_recipe(plan.error());
  if (plan->router)
    return refuse(400, "recipe", "recipe: a router is loaded with the server; a route of layers or a draft expected");
  const recipe::RunPlan& served = model.runner->options().plan;
  if (plan->draft) {
    if (served.reweave) {
      return refuse(400, "recipe",
                    "recipe: the server's decode:reweave keeps of a text what cannot be set back by some tokens; no "
                    "draft expected");
    }
    if (const auto checked = check_draft(*plan->draft, *model.runner); !checked) return refuse_recipe(checked.error());
    job.draft_plan = std::make_shared<const recipe::DraftPlan>(*plan->draft);
  }
  // Texts share what is kept, and steps, by their routes: how tokens are guessed is nobody's concern.
  recipe::Recipe route_alone;
  for (const recipe::Clause& clause : parsed->clauses) {
    if (is_draft(clause)) {
      job.draft = recipe::print({.clauses = {clause}});
    } else {
      route_alone.clauses.push_back(clause);
    }
  }
  if (route_alone.clauses.empty()) {
    if (model.reader == nullptr) return {};
    return refuse(400, "recipe",
                  "recipe: the server's router decides on routes, and goes with no draft; a route with the draft "
                  "expected");
  }
  if (served.fuse || served.reweave) {
    return refuse(400, "recipe", "recipe: the server's decode:{} is for its own route{}",
                  served.fuse ? "lfd" : "reweave", served.reweave ? "" : "; a draft alone may be asked for");
  }
  auto route = model.runner->plan_route(plan->route, plan->exit);
  if (!route) return refuse_recipe(route.error());
  job.recipe = recipe::print(route_alone);
  job.route = std::make_shared<const run::Route>(std::move(*route));
  return {};
}

}  // namespace lamina::serve

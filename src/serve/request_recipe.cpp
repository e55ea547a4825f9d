#include "serve/request_recipe.h"

#include <algorithm>

#include "recipe/recipe.h"
#include "run/plan_recipe.h"

namespace lamina::serve {

namespace {

bool changes_the_route_alone(const recipe::Clause& clause) {
  if (clause.where.place == recipe::Place::kRoute) return true;
  return clause.where.place == recipe::Place::kWeights &&
         std::ranges::all_of(clause.steps, [](const recipe::Step& step) { return step.technique == "drop"; });
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
    if (changes_the_route_alone(clause)) continue;
    return refuse(400, "recipe", "recipe: {}: only route: and drop are for one request; others are the server's",
                  recipe::print({.clauses = {clause}}));
  }
  const auto plan = run::plan_recipe(text, *model.model);
  if (!plan) return refuse_recipe(plan.error());
  auto route = model.runner->plan_route(plan->route);
  if (!route) return refuse_recipe(route.error());
  job.recipe = recipe::print(*parsed);
  job.route = std::make_shared<const run::Route>(std::move(*route));
  return {};
}

}  // namespace lamina::serve

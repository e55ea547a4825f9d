#include "run/plan_recipe.h"

#include <algorithm>
#include <ranges>

#include "run/route_cost.h"

namespace lamina::run {

core::Result<recipe::RunPlan> plan_recipe(const std::string& text, const models::Model& model) {
  LAMINA_ASSIGN(const recipe::Recipe parsed, recipe::parse(text));
  recipe::ModelFacts facts{.layers = static_cast<int>(model.layers().size()),
                           .key_value_cache = model.keeps_keys(),
                           .sublayers = {},
                           .route = model.route()};
  for (const layers::Layer& layer : model.layers()) {
    const auto roles = layer.parts | std::views::transform(&layers::Layer::Part::role);
    const auto has = [&](std::string_view role) { return std::ranges::find(roles, role) != roles.end(); };
    const auto keeps_state = [](const layers::Layer::Part& part) { return part.sublayer->cache_shape().keeps_state(); };
    facts.recurrent = facts.recurrent || std::ranges::any_of(layer.parts, keeps_state);
    facts.sublayers.push_back(
        {.attention = std::ranges::any_of(roles, mixes_tokens), .mlp = has("mlp"), .cross = has("cross")});
  }
  return recipe::plan(parsed, facts);
}

}  // namespace lamina::run

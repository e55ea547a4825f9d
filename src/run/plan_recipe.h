#pragma once

#include <string>

#include "models/model.h"
#include "recipe/plan.h"

namespace lamina::run {

/// The recipe of that text, resolved for the model. Errors as recipe::parse and recipe::plan.
core::Result<recipe::RunPlan> plan_recipe(const std::string& text, const models::Model& model);

}  // namespace lamina::run

#pragma once

#include "models/model.h"
#include "recipe/plan.h"
#include "run/router.h"

namespace lamina::app {

/// The router of that file, of the kind that the plan says. kInvalid: it is of the other kind, or was fitted on other
/// weights.
core::Result<run::Router> open_router(const recipe::RouterPlan& plan, const models::Model& model);

}  // namespace lamina::app

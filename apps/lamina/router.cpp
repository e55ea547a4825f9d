#include "lamina/router.h"

#include "stats/statistics.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;

Result<run::Router> open_router(const recipe::RouterPlan& plan, const models::Model& model) {
  LAMINA_ASSIGN(run::Router router, run::load_router(plan.file));
  const std::string own = stats::fingerprint(model.files());
  if (router.model != own) {
    return fail(ErrorCode::kInvalid, plan.file,
                "it was fitted on model {}; this one is {}: lamina route-fit makes another", router.model, own);
  }
  const auto wanted =
      plan.kind == recipe::RouterPlan::Kind::kFirst ? run::Router::Kind::kSkip : run::Router::Kind::kRepeat;
  if (router.kind != wanted) {
    return fail(ErrorCode::kInvalid, plan.file, "it is a router of route:{}; one of route:{} expected",
                run::router_kind_name(router.kind), run::router_kind_name(wanted));
  }
  return router;
}

}  // namespace lamina::app

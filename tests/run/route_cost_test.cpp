#include "run/route_cost.h"

#include <gtest/gtest.h>

#include "run/golden_files.h"
#include "run/model_runs.h"

namespace lamina::run {
namespace {

TEST(RouteCost, ATokenReadsTheExpertsThatItUses) {
  ModelRun run = ModelRun::open(golden_folder() / "mixtral/model.gguf", {});
  const RouteCost cost = route_cost(*run.runner);
  int64_t all = 0;
  int64_t weights = 0;
  for (const layers::Layer& layer : run.model->layers()) {
    for (const layers::Layer::Part& part : layer.parts) {
      for (const layers::Linear* linear : part.sublayer->linears()) {
        all += linear->bytes();
        weights += linear->outputs() * linear->inputs();
      }
    }
  }
  for (const layers::Linear* linear : run.model->head().linears()) all += linear->bytes();
  int64_t routed = 0;
  for (const ExpertCost& part : cost.experts) {
    EXPECT_EQ(part.count, 5);
    EXPECT_EQ(part.used, 2);
    routed += part.bytes;
  }
  EXPECT_GT(routed, 0);
  EXPECT_EQ(cost.fixed_bytes + routed, all);
  const auto fixed = static_cast<double>(cost.fixed_bytes);
  const auto choice = static_cast<double>(routed);
  EXPECT_DOUBLE_EQ(cost.weight_bytes(1), fixed + choice * 2 / 5);
  EXPECT_NEAR(cost.weight_bytes(2), fixed + choice * (1 - 9.0 / 25), 1e-6 * choice);
  EXPECT_NEAR(cost.weight_bytes(1000), fixed + choice, 1e-6 * choice);
  EXPECT_LT(cost.layers.int8 + cost.layers.float32, weights);
}

}  // namespace
}  // namespace lamina::run

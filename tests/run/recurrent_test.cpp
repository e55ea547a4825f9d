// Models whose layers keep a state: what is forgotten is computed again, recipes see their mixers, caches are planned.
#include <gtest/gtest.h>

#include <cstring>

#include "run/engine.h"
#include "run/model_runs.h"
#include "run/route_cost.h"

namespace lamina::run {
namespace {

ModelRun open_model(const std::string& name, const std::string& recipe) {
  return ModelRun::open(golden_folder() / name / "model.gguf", {.sequences = 2, .recipe = recipe});
}

std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary, int64_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>((i * 37 + seed) % vocabulary));
  return tokens;
}

std::vector<int32_t> generate(ModelRun& run, const std::vector<int32_t>& prompt, cache::SequenceId sequence) {
  Engine engine(*run.runner, nullptr);
  const auto request = engine.submit(
      {.prompt = prompt, .sampling = {.temperature = 0}, .max_tokens = 12, .stops = {}, .ignore_end = true, .sink = {}},
      sequence);
  EXPECT_TRUE(request) << request.error().text();
  EXPECT_TRUE(engine.finish());
  return engine.result(*request).tokens;
}

class Recurrent : public testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  std::string name() const { return GetParam().first; }
  std::string recipe() const { return GetParam().second; }
};

TEST_P(Recurrent, AKeptSequenceAnswersAsAFreshOne) {
  ModelRun run = open_model(name(), recipe());
  const auto prompt = some_tokens(20, run.model->vocabulary(), 5);
  const auto fresh = generate(run, prompt, {});
  const auto kept = run.runner->open().value();
  EXPECT_EQ(generate(run, prompt, kept), fresh);
  // The whole prompt is there and more: a state can only start again.
  EXPECT_EQ(run.runner->truncate(kept, 20), 0);
  EXPECT_EQ(generate(run, prompt, kept), fresh);
  // The sequence as the first answer left it, asked again: the engine computes what it must.
  EXPECT_GT(run.runner->length(kept), 20);
  EXPECT_EQ(generate(run, prompt, kept), fresh);
}

TEST_P(Recurrent, AKeptPrefixIsGoneOnWith) {
  ModelRun run = open_model(name(), recipe());
  auto prompt = some_tokens(20, run.model->vocabulary(), 5);
  const auto kept = run.runner->open().value();
  const auto first = generate(run, prompt, kept);
  const int64_t length = run.runner->length(kept);
  prompt.insert(prompt.end(), first.begin(), first.end());
  prompt.resize(static_cast<size_t>(length));
  EXPECT_EQ(run.runner->truncate(kept, length), length);
  for (const int32_t token : some_tokens(9, run.model->vocabulary(), 77)) prompt.push_back(token);
  EXPECT_EQ(generate(run, prompt, kept), generate(run, prompt, {}));
}

TEST_P(Recurrent, StatesArePlannedAndCounted) {
  ModelRun run = open_model(name(), recipe());
  int64_t floats = 0;
  for (const cache::VisitShape& visit : run.runner->cache_visits()) floats += visit.state_floats;
  EXPECT_GT(floats, 0);
  EXPECT_EQ(route_cost(*run.runner).state_bytes, 4 * floats);
  const auto one = Runner::plan_memory(*run.model, *run.pool, run.runner->options()).value();
  EXPECT_GE(one.cache.states, run.runner->options().sequences * 4 * floats);
  RunnerOptions more = run.runner->options();
  more.sequences *= 2;
  EXPECT_EQ(Runner::plan_memory(*run.model, *run.pool, more).value().cache.states, 2 * one.cache.states);
}

INSTANTIATE_TEST_SUITE_P(Models, Recurrent,
                         testing::Values(std::pair{"lfm2", "kv:f32"}, std::pair{"mamba2", ""},
                                         std::pair{"untied", "kv:f32 decode:reweave(layers=0,keep=8)"}),
                         [](const auto& info) { return std::string(info.param.first); });

core::Result<recipe::RunPlan> plan_for(const models::Model& model, const std::string& text) {
  recipe::ModelFacts facts{.layers = static_cast<int>(model.layers().size()), .key_value_cache = model.keeps_keys()};
  for (const layers::Layer& layer : model.layers()) {
    recipe::LayerFacts parts{.attention = false, .mlp = false};
    for (const auto& part : layer.parts) (mixes_tokens(part.role) ? parts.attention : parts.mlp) = true;
    facts.sublayers.push_back(parts);
  }
  return recipe::plan(recipe::parse(text).value(), facts);
}

TEST(RecurrentRecipes, AMixerIsWhatAttnNames) {
  const auto mamba = models::Model::build(golden_folder() / "mamba2/model.gguf", {}).value();
  const auto dropped = plan_for(*mamba, "L1.attn:drop");
  ASSERT_TRUE(dropped) << dropped.error().text();
  ASSERT_EQ(dropped->route.size(), 1U);  // nothing of layer 1 is left
  EXPECT_EQ(dropped->route[0].layer, 0);
  EXPECT_FALSE(plan_for(*mamba, "L1.mlp:drop"));
  EXPECT_EQ(plan_for(*mamba, "kv:f16").error().code, core::ErrorCode::kUnsupported);

  const auto lfm = models::Model::build(golden_folder() / "lfm2/model.gguf", {}).value();
  ASSERT_EQ(lfm->layers()[0].parts.size(), 2U);
  EXPECT_EQ(lfm->layers()[0].parts[0].role, "mixer");
  EXPECT_EQ(lfm->layers()[2].parts[0].role, "attn");
  const auto half = plan_for(*lfm, "L0.attn:drop kv:f16");
  ASSERT_TRUE(half) << half.error().text();
  EXPECT_FALSE(half->route[0].attention);
  EXPECT_TRUE(half->route[0].mlp);
  EXPECT_FALSE(runs(half->route[0], lfm->layers()[0].parts[0]));
}

TEST(RecurrentRecipes, ADroppedMixerKeepsNoState) {
  ModelRun run = open_model("lfm2", "kv:f32 L0,1,3.attn:drop");
  for (const cache::VisitShape& visit : run.runner->cache_visits()) EXPECT_EQ(visit.state_floats, 0);
  const auto sequence = run.runner->open().value();
  std::vector<float> logits(static_cast<size_t>(run.model->vocabulary()));
  const std::vector<BatchRow> rows{{.token = 1, .sequence = sequence}, {.token = 2, .sequence = sequence}};
  ASSERT_TRUE(run.runner->step(rows, logits));
  EXPECT_EQ(run.runner->truncate(sequence, 1), 1);
}

}  // namespace
}  // namespace lamina::run

#include "stats/sensitivity.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "run/model_runs.h"

namespace lamina::stats {
namespace {

using run::golden_folder;
using run::ModelRun;

std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + 44) % vocabulary));
  return tokens;
}

Statistics measured(ModelRun& run, double noise) {
  const std::vector<int32_t> tokens = some_tokens(64, run.model->vocabulary());
  Statistics statistics = collect(*run.runner, *run.pool, tokens, {.window = 32}, {}).value();
  const auto status =
      add_sensitivity(*run.runner, *run.pool, tokens, {.window = 32, .windows = 2, .noise = noise}, {}, statistics);
  EXPECT_TRUE(status);
  return statistics;
}

std::vector<double> by_layer(const Statistics& statistics) {
  std::vector<double> out;
  for (const PartStats& part : statistics.parts) {
    if (part.role == "layer") {
      EXPECT_EQ(part.disturbed_rows, 64);
      out.push_back(part.sensitivity / static_cast<double>(part.disturbed_rows));
    } else {
      EXPECT_EQ(part.disturbed_rows, 0);
    }
  }
  return out;
}

// Divergence grows with the square of small noise, so the measure does not depend on the noise's size.
TEST(Sensitivity, IsANumberOfTheLayerAlone) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {.exact = true});
  const std::vector<double> small = by_layer(measured(run, 0.01));
  const std::vector<double> twice = by_layer(measured(run, 0.02));
  ASSERT_EQ(small.size(), run.model->layers().size());
  for (size_t i = 0; i < small.size(); ++i) {
    EXPECT_GT(small[i], 0);
    EXPECT_NEAR(twice[i], small[i], 0.2 * small[i]) << "layer " << i;
  }
}

TEST(Sensitivity, DoesNotDependOnThreadsAndIsSaved) {
  ModelRun one = ModelRun::open(golden_folder() / "gqa/model.gguf", {.threads = 1});
  ModelRun five = ModelRun::open(golden_folder() / "gqa/model.gguf", {.threads = 5});
  const Statistics statistics = measured(one, 0.05);
  const std::vector<double> wanted = by_layer(statistics);
  EXPECT_EQ(wanted, by_layer(measured(five, 0.05)));
  const auto path = std::filesystem::temp_directory_path() / "lamina_sensitivity_test.safetensors";
  ASSERT_TRUE(save(statistics, path));
  EXPECT_EQ(by_layer(load(path).value()), wanted);
  std::filesystem::remove(path);
}

TEST(Sensitivity, NeedsAWholeWindow) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  Statistics statistics;
  const auto refused = add_sensitivity(*run.runner, *run.pool, some_tokens(10, 50), {.window = 32}, {}, statistics);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text(), "sensitivity: 10 tokens; at least one window of 32 expected");
}

}  // namespace
}  // namespace lamina::stats

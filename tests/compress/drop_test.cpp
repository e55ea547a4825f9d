#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compress/conversions.h"
#include "models/structure.h"
#include "stats/collector.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;

std::vector<int32_t> tokens_of(const std::string& golden) {
  return run::read_npy<int32_t>(golden_folder() / golden / "tokens.npy", "<i4");
}

std::vector<float> logits_of(const fs::path& path, const std::string& golden, const std::string& recipe = "") {
  ModelRun run = ModelRun::open(path, {.recipe = recipe});
  return run.logits(tokens_of(golden), {64});
}

/// What is dropped in a file is what is dropped in a run, to the bit, in both containers.
void expect_same_as_a_run(const std::string& golden, const std::string& recipe) {
  const TemporaryFolder temporary;
  const fs::path gguf = golden_folder() / golden / "model.gguf";
  if (fs::exists(gguf)) {
    const std::vector<float> wanted = logits_of(gguf, golden, recipe);
    EXPECT_NE(wanted, logits_of(gguf, golden)) << golden << ": the recipe changes nothing";
    written(gguf, temporary.path() / "out.gguf", recipe);
    EXPECT_EQ(logits_of(temporary.path() / "out.gguf", golden), wanted) << golden << " " << recipe;
  }
  const fs::path folder = folder_alone(golden_folder() / golden, temporary);
  written(folder, temporary.path() / "out", recipe);
  EXPECT_EQ(logits_of(temporary.path() / "out", golden), logits_of(folder, golden, recipe)) << golden << " " << recipe;
}

class DroppedFamily : public testing::TestWithParam<std::string> {};

TEST_P(DroppedFamily, FilesWithoutPartsRunAsARunWithoutThem) {
  const std::string golden = GetParam();
  const auto model = models::Model::build(golden_folder() / golden, {});
  ASSERT_TRUE(model) << model.error().text();
  const bool has_mlp =
      std::ranges::any_of((*model)->layers()[1].parts, [](const auto& part) { return part.role == "mlp"; });
  expect_same_as_a_run(golden, "L1:drop");
  if (!has_mlp) return;
  expect_same_as_a_run(golden, "L0.mlp:drop");
  expect_same_as_a_run(golden, "L1.attn:drop");
}

INSTANTIATE_TEST_SUITE_P(All, DroppedFamily,
                         testing::Values("gqa", "biases", "gemma2", "gemma3", "gpt2", "gptneox", "stablelm_parallel",
                                         "lfm2", "mamba2", "mixtral", "phi3", "qwen2moe_mixed", "deepseek_v3",
                                         "smollm3"),
                         [](const auto& info) { return info.param; });

TEST(Drop, ConvertsAndEncodesWhatIsLeft) {
  const TemporaryFolder temporary;
  const fs::path gguf = golden_folder() / "gemma3" / "model.gguf";
  written(gguf, temporary.path() / "folder", "L0.mlp:drop L1:drop");
  written(temporary.path() / "folder", temporary.path() / "again.gguf");
  written(gguf, temporary.path() / "direct.gguf", "L0.mlp:drop L1:drop");
  expect_bytes(opened(temporary.path() / "again.gguf"), opened(temporary.path() / "direct.gguf"));
}

TEST(Drop, ClausesNumberTheLayersOfTheSource) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const std::string recipe = "L0:drop L1.attn:q8_0";
  const CompressReport report = written(model, temporary.path() / "out.gguf", recipe);
  std::map<std::string, std::string> after;
  for (const TensorReport& tensor : report.tensors) after[tensor.name] = tensor.after;
  EXPECT_EQ(after["blk.0.attn_q.weight"], "q8_0");
  EXPECT_FALSE(after.contains("blk.1.attn_q.weight"));
  EXPECT_EQ(logits_of(temporary.path() / "out.gguf", "gqa"), logits_of(model, "gqa", recipe));
}

TEST(Drop, KeepsTheNumbersThatRulesGoBy) {
  const TemporaryFolder temporary;
  const CompressReport report =
      written(golden_folder() / "gemma3" / "model.gguf", temporary.path() / "out.gguf", "L1:drop");
  const auto out = opened(temporary.path() / "out.gguf");
  const auto count = opened(golden_folder() / "gemma3" / "model.gguf").config().at("gemma3.block_count").get<int>();
  EXPECT_EQ(out.config().at("gemma3.block_count").get<int>(), count - 1);
  const auto structure = models::read_structure(out.container(), out.config(), "");
  ASSERT_TRUE(structure);
  ASSERT_FALSE(structure->numbers.empty());
  EXPECT_EQ(structure->numbers[1], 2);
  ASSERT_FALSE(report.notes.empty());
  EXPECT_THAT(report.notes.front(), HasSubstr("lamina.layers"));
}

TEST(Drop, FilesThatSayNonsenseOfTheirLayersAreRefused) {
  const TemporaryFolder temporary;
  const fs::path folder = folder_alone(golden_folder() / "gqa", temporary);
  const auto refusal = [&](const nlohmann::json& own) {
    nlohmann::json config = run::read_json(golden_folder() / "gqa" / "config.json");
    config["lamina"] = own;
    std::ofstream(folder / "config.json") << config.dump();
    const auto model = models::Model::build(folder, {});
    return model ? std::string() : model.error().text();
  };
  EXPECT_THAT(refusal({{"layers", {0}}}), HasSubstr("numbers of 1 layers"));
  EXPECT_THAT(refusal({{"layers", "all"}}), HasSubstr("numbers of layers expected"));
  EXPECT_THAT(refusal({{"without", {{"attn", {99}}}}}), HasSubstr("layer 99 is to have no attn"));
  EXPECT_THAT(refusal({{"without", {{"mlp", {-1}}}}}), HasSubstr("numbers of layers expected"));
  EXPECT_THAT(refusal({{"without", {{"mlp", {0}}}}}), HasSubstr("has no place in architecture"));
}

// Statistics whose scores are known choose what is known.
class DropByScores : public testing::Test {
 protected:
  void SetUp() override {
    ModelRun run = ModelRun::open(model_, {});
    std::vector<int32_t> tokens = tokens_of("gemma3");
    while (tokens.size() < 64) tokens.insert(tokens.end(), tokens.begin(), tokens.end());
    auto found = stats::collect(*run.runner, *run.pool, tokens, {.window = 32}, {});
    ASSERT_TRUE(found);
    statistics_ = std::move(*found);
    layers_ = static_cast<int>(run.model->layers().size());
  }
  void set(int layer, const std::string& role, double score) {
    for (stats::PartStats& part : statistics_.parts) {
      if (part.layer != layer || part.role != role) continue;
      part.cosine = (1 - score) * static_cast<double>(part.rows);
      part.contribution = 10 * score * static_cast<double>(part.rows);
      part.length_before = 0;
      part.length_after = (1 - score) * static_cast<double>(part.rows);
      part.voids = std::llround((1 - score) * static_cast<double>(part.rows));
    }
  }
  core::Result<CompressReport> chosen(const std::string& recipe) {
    const fs::path file = temporary_.path() / "stats.safetensors";
    EXPECT_TRUE(stats::save(statistics_, file));
    core::ThreadPool pool(2);
    return compress(
        {.model = model_, .out = temporary_.path() / "out.gguf", .recipe = recipe, .statistics = file, .force = true},
        pool, {});
  }

  const fs::path model_ = golden_folder() / "gemma3" / "model.gguf";
  const TemporaryFolder temporary_;
  stats::Statistics statistics_;
  int layers_ = 0;
};

TEST_F(DropByScores, TakesTheLowest) {
  ASSERT_GE(layers_, 3);
  for (int layer = 0; layer < layers_; ++layer) {
    set(layer, "attn", 0.5 - 0.1 * layer);
    set(layer, "mlp", 0.05 + 0.1 * layer);
    set(layer, "layer", layer == 1 ? 0.01 : 0.3);
  }
  const std::string last = std::to_string(layers_ - 1);
  EXPECT_EQ(chosen("L*.attn:drop(count=1)")->passes.at(0).summary, "dropped attn of layers " + last);
  EXPECT_EQ(logits_of(temporary_.path() / "out.gguf", "gemma3"),
            logits_of(model_, "gemma3", "L" + last + ".attn:drop"));
  EXPECT_EQ(chosen("L*.mlp:drop(2)")->passes.at(0).summary, "dropped mlp of layers 0, 1");
  EXPECT_EQ(chosen("L*:drop(count=1)")->passes.at(0).summary, "dropped layers 1");
  EXPECT_EQ(chosen("L*:drop(count=1,units=parts)")->passes.at(0).summary, "dropped attn of layers " + last);
  EXPECT_EQ(chosen("L1-.mlp:drop(count=1)")->passes.at(0).summary, "dropped mlp of layers 1");
  EXPECT_EQ(chosen("L*.attn:drop(count=1,by=contribution)")->passes.at(0).summary, "dropped attn of layers " + last);
  EXPECT_EQ(chosen("L*.mlp:drop(count=1,by=length)")->passes.at(0).summary, "dropped mlp of layers " + last);
  EXPECT_EQ(chosen("L*.attn:drop(count=1,by=void)")->passes.at(0).summary, "dropped attn of layers " + last);
  const auto report = chosen("L*.attn:drop(count=1)");
  const auto& scores = report->passes.at(0).details.at("scores");
  ASSERT_EQ(scores.size(), static_cast<size_t>(layers_));
  EXPECT_NEAR(scores[0].at("score").get<double>(), 0.5, 1e-9);
  EXPECT_FALSE(scores[0].at("dropped").get<bool>());
  EXPECT_TRUE(scores.back().at("dropped").get<bool>());
}

TEST_F(DropByScores, TakesTheRunWithTheLowestSum) {
  ASSERT_GE(layers_, 3);
  for (int layer = 0; layer < layers_; ++layer) set(layer, "attn", layer == 0 ? 0.01 : layer == 1 ? 0.5 : 0.1);
  EXPECT_EQ(chosen("L*.attn:drop(count=2)")->passes.at(0).summary, "dropped attn of layers 0, 2");
  set(1, "attn", 0.05);
  EXPECT_EQ(chosen("L*.attn:drop(count=2,order=run)")->passes.at(0).summary, "dropped attn of layers 0, 1");
}

TEST_F(DropByScores, RefusesWhatItCannotChoose) {
  EXPECT_THAT(chosen("L*.attn:drop(count=99)").error().text(), HasSubstr("99 to be dropped of"));
  EXPECT_THAT(chosen("L*:drop(count=1,units=parts,order=run)").error().text(), HasSubstr("units of one kind"));
  for (stats::PartStats& part : statistics_.parts) part.voids = -1;
  EXPECT_THAT(chosen("L*.attn:drop(count=1,by=void)").error().text(), HasSubstr("do not count voids"));
  statistics_.parts.clear();
  EXPECT_THAT(chosen("L*.attn:drop(count=1)").error().text(), HasSubstr("say nothing of layer 0"));
}

}  // namespace
}  // namespace lamina::compress

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "compress/expert_split.h"
#include "compress/layer_walk.h"
#include "compress/passed_model.h"
#include "compress/unit_clusters.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

TEST(BalancedClusters, RowsOfOneDirectionComeTogether) {
  std::mt19937 random(3);
  std::normal_distribution<float> noise(0, 0.1F);
  // 24 rows, by turns of three directions and of any length.
  Matrix rows{.outputs = 24, .inputs = 6};
  for (int64_t r = 0; r < 24; ++r) {
    const float length = 1 + static_cast<float>(r);
    for (int64_t i = 0; i < 6; ++i) rows.numbers.push_back(length * ((i / 2 == r % 3 ? 1.0F : 0.0F) + noise(random)));
  }
  const std::vector<int> clusters = balanced_clusters(rows, 3);
  for (size_t r = 3; r < 24; ++r) EXPECT_EQ(clusters[r], clusters[r - 3]) << r;
  EXPECT_NE(clusters[0], clusters[1]);
  EXPECT_NE(clusters[1], clusters[2]);
}

TEST(BalancedClusters, AreOfOneSizeWhateverTheRows) {
  const Matrix alike{.outputs = 12, .inputs = 2, .numbers = std::vector<float>(24, 1)};
  const Matrix nothing{.outputs = 12, .inputs = 2, .numbers = std::vector<float>(24, 0)};
  for (const Matrix& rows : {alike, nothing}) {
    std::vector<int> clusters = balanced_clusters(rows, 4);
    std::ranges::sort(clusters);
    EXPECT_EQ(clusters, (std::vector<int>{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3}));
  }
}

/// Tokens of two kinds, told by the sign of what is read first: each has units of its own, and half of one more.
class TwoKinds : public testing::Test {
 protected:
  void SetUp() override {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    rows_.count = 2048;
    rows_.read = {.outputs = rows_.count, .inputs = 3};
    rows_.held = {.outputs = rows_.count, .inputs = 4};
    for (int64_t r = 0; r < rows_.count; ++r) {
      const bool first = normal(random) > 0;
      const float x = normal(random);
      const float y = normal(random);
      for (const float read : {first ? 1.0F : -1.0F, x, y}) rows_.read.numbers.push_back(read);
      for (const float held : {first ? x : 0, first ? 0 : x, first ? y : 0.05F * y, first ? 0.05F * y : y})
        rows_.held.numbers.push_back(held);
      rows_.judges.push_back(r / 256 % 4 == 3);
    }
  }
  MlpRows rows_;
  const Matrix down_{.outputs = 2, .inputs = 4, .numbers = {1, 2, 0.5F, 1, -1, 1, 2, 1}};
  core::ThreadPool pool_{2};
};

TEST_F(TwoKinds, UnitsThatActTogetherAreAnExpertThatTheRouterFinds) {
  const auto split = split_experts(rows_, down_, 2, 1, pool_);
  ASSERT_TRUE(split) << split.error().text();
  std::vector<std::vector<int64_t>> units = split->units;
  std::ranges::sort(units);
  EXPECT_EQ(units, (std::vector<std::vector<int64_t>>{{0, 2}, {1, 3}}));
  EXPECT_GT(split->chosen, 0.99);
  EXPECT_NEAR(split->most, split->chosen, 1e-6);
  // What the other expert would have added is a share of what the one that is used holds.
  EXPECT_GT(split->unfitted, 1e-4);
  EXPECT_LT(split->lost, 1e-2 * split->unfitted);
  for (int64_t e = 0; e < 2; ++e) {
    for (int64_t i = 0; i < 3; ++i) EXPECT_LE(std::fabs(split->router.row(e)[i]), 1.0F / 2048);
  }
}

TEST_F(TwoKinds, AllOfThemAreTheMlpItself) {
  const auto split = split_experts(rows_, down_, 2, 2, pool_);
  ASSERT_TRUE(split);
  EXPECT_EQ(split->down.numbers, down_.numbers);
  EXPECT_EQ(split->lost, 0);
  EXPECT_EQ(split->chosen, 1);
}

/// The logits of some tokens, activations in float32.
std::vector<float> logits_of(const models::Model& model, core::ThreadPool& pool) {
  const std::vector<int32_t> tokens = some_tokens(64, model.vocabulary());
  const auto walker = LayerWalker::create(model, pool, tokens, 64, 1).value();
  std::vector<float> all;
  Walk walk{.end = 1};
  for (size_t i = 0; i < model.layers().size(); ++i) walk.visits.push_back(walker.visit(static_cast<int>(i)));
  walk.predict = [&](int64_t, std::span<const float> logits) -> core::Status {
    all.assign(logits.begin(), logits.end());
    return {};
  };
  EXPECT_TRUE(walker.run(walk));
  return all;
}

std::vector<float> logits_of(const fs::path& path) {
  core::ThreadPool pool(2);
  const auto model = models::Model::build(path, {.exact = true}).value();
  EXPECT_TRUE(model->load(pool, {}));
  return logits_of(*model, pool);
}

// All experts together are the model as it was, in both containers, and after each is converted to the other.
TEST(Experts, AllOfThemMakeWhatTheModelMakes) {
  for (const char* golden : {"gqa", "head_dim"}) {
    const fs::path gguf = golden_folder() / golden / "model.gguf";
    const std::vector<float> wanted = logits_of(gguf);
    Passed passed(gguf, "L*.mlp:experts(count=4,used=4)", some_tokens(2048, 104));
    ASSERT_TRUE(passed.status) << golden << passed.status.error().text();
    EXPECT_LT(distance(logits_of(*passed.load(), passed.pool), wanted), 2e-3) << golden;
    const TemporaryFolder temporary;
    const fs::path folder = folder_alone(golden_folder() / golden, temporary);
    Passed other(folder, "L*.mlp:experts(count=4,used=4)", some_tokens(2048, 104));
    ASSERT_TRUE(other.status) << golden << other.status.error().text();
    EXPECT_LT(distance(logits_of(*other.load(), other.pool), wanted), 2e-3) << golden;
    EXPECT_EQ(other.edit->architecture().name, "mixtral");
  }
}

TEST(Experts, FewerOfThemLoseSomethingAndFitsLoseLess) {
  const fs::path gguf = golden_folder() / "gqa" / "model.gguf";
  const std::vector<float> wanted = logits_of(gguf);
  for (const int used : {3, 1}) {
    Passed passed(gguf, fmt::format("L*.mlp:experts(count=4,used={})", used), some_tokens(2048, 104));
    ASSERT_TRUE(passed.status) << passed.status.error().text();
    EXPECT_EQ(passed.edit->config().at("llama.expert_count"), 4);
    EXPECT_EQ(passed.edit->config().at("llama.expert_used_count"), used);
    EXPECT_EQ(passed.edit->config().at("llama.feed_forward_length"), 10);
    for (const auto& mlp : passed.reports.at(0).details.at("mlps")) {
      EXPECT_LT(mlp.at("lost").get<double>(), mlp.at("lost_unfitted").get<double>());
      EXPECT_GT(mlp.at("chosen").get<double>(), used / 4.0);
      EXPECT_LE(mlp.at("chosen").get<double>(), mlp.at("most").get<double>());
    }
    const double lost = distance(logits_of(*passed.load(), passed.pool), wanted);
    EXPECT_GT(lost, 0.01) << used;
    EXPECT_LT(lost, 1) << used;
  }
}

TEST(Experts, AreWrittenInBothContainersAndFormats) {
  const TemporaryFolder temporary;
  Passed passed(golden_folder() / "gqa" / "model.gguf", "L*.mlp:experts(count=2,used=1)", some_tokens(2048, 104));
  ASSERT_TRUE(passed.status);
  const auto& files = passed.edit->model().files();
  const core::TensorView* stack = files.find("blk.1.ffn_down_exps.weight");
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->shape[0], 2);
  EXPECT_EQ(stack->shape[1], 96);
  EXPECT_EQ(stack->shape[2], 20);
  EXPECT_EQ(files.find("blk.1.ffn_down.weight"), nullptr);
  EXPECT_EQ(files.find("blk.1.ffn_gate_inp.weight")->rows(), 2);
  const fs::path folder = folder_alone(golden_folder() / "gqa", temporary);
  Passed other(folder, "L*.mlp:experts(count=2,used=1)", some_tokens(2048, 104));
  ASSERT_TRUE(other.status);
  EXPECT_NE(other.edit->model().files().find("model.layers.1.block_sparse_moe.experts.1.w2.weight"), nullptr);
  EXPECT_EQ(other.edit->config().at("architectures").at(0), "MixtralForCausalLM");
  EXPECT_EQ(other.edit->config().at("model_type"), "mixtral");
}

TEST(Experts, RefusesWhatItCannotCut) {
  const TemporaryFolder temporary;
  const auto refusal = [](const std::string& golden, const std::string& recipe) {
    const Passed passed(golden_model(golden), recipe, some_tokens(4096, 100));
    return passed.status ? std::string() : passed.status.error().text();
  };
  EXPECT_THAT(refusal("gqa", "L*.mlp:experts(count=4,used=5)"), HasSubstr("5 of 4 experts"));
  EXPECT_THAT(refusal("gqa", "L*.mlp:experts(count=7,used=2)"), HasSubstr("40 units do not make 7 experts"));
  EXPECT_THAT(refusal("gqa", "L0.mlp:experts(count=4,used=2)"), HasSubstr("L*.mlp expected"));
  EXPECT_THAT(refusal("mixtral", "L*.mlp:experts(count=4,used=2)"), HasSubstr("of kind moe"));
  EXPECT_THAT(refusal("biases", "L*.mlp:experts(count=4,used=2)"), HasSubstr("has a bias"));
  EXPECT_THAT(refusal("gemma2", "L*.mlp:experts(count=4,used=2)"), HasSubstr("no family says the layers of gemma2"));
  EXPECT_THAT(
      write(golden_model("gqa"), temporary.path() / "out.gguf", "L*.mlp:experts(count=4,used=2)").error().text(),
      HasSubstr("--calibration"));
}

}  // namespace
}  // namespace lamina::compress

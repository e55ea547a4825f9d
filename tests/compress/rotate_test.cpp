// Rotations that are folded into what writes and reads: the model must mean the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/folded_models.h"
#include "compress/rotation.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

TEST(Rotation, IsOrthogonalAndMixesAll) {
  for (const int64_t size : {1, 7, 8, 24, 36, 64}) {
    const Rotation rotation(size, 3);
    const auto count = static_cast<size_t>(size);
    std::vector<std::vector<double>> columns;
    for (size_t i = 0; i < count; ++i) {
      std::vector<double> unit(count);
      unit[i] = 1;
      rotation.apply(unit.data());
      columns.push_back(unit);
    }
    std::vector<double> squares(count);
    std::vector<double> wanted(count);
    for (size_t i = 0; i < count; ++i) squares[i] = static_cast<double>(i * i + 1);
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < count; ++j) {
        double product = 0;
        for (size_t k = 0; k < count; ++k) product += columns[i][k] * columns[j][k];
        EXPECT_NEAR(product, i == j ? 1 : 0, 1e-12) << size;
        wanted[j] += columns[i][j] * columns[i][j] * squares[i];
        EXPECT_NE(columns[i][j], 0) << size;
      }
    }
    rotation.spread(squares.data());
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(squares[i], wanted[i], 1e-9) << size;
  }
}

class Rotated : public testing::TestWithParam<std::string> {};

TEST_P(Rotated, MeansTheSame) {
  const TemporaryFolder temporary;
  const fs::path model = golden_model(GetParam());
  const fs::path out = temporary.path() / "out.gguf";
  const std::vector<float> wanted = exact_logits(model, GetParam());
  for (const std::string at : {"both", "stream"}) {
    const auto report = write(model, out, "L*:rotate(at=" + at + ") L*:f32 embed:f32 head:f32", 0, true);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_LT(distance(wanted, exact_logits(out, GetParam())), 1e-3) << at;
  }
  // Not because nothing was turned.
  const format::ModelFiles before = opened(model);
  const format::ModelFiles after = opened(out);
  EXPECT_GT(distance(numbers_of(*before.find("token_embd.weight")), numbers_of(*after.find("token_embd.weight"))), 0.1);
  for (const float x : numbers_of(*after.find("blk.0.ffn_norm.weight"))) EXPECT_EQ(x, 1);
}

INSTANTIATE_TEST_SUITE_P(All, Rotated,
                         testing::Values("gqa", "qwen2", "head_dim", "phi3", "granite", "smollm3", "lfm2", "mixtral",
                                         "qwen3moe", "qwen2moe", "deepseek_v2_lite", "deepseek_v3"),
                         [](const auto& info) { return info.param; });

TEST(Rotate, ValuesAloneInFamiliesOfAnyNorm) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out.gguf";
  for (const std::string golden : {"gpt2", "gemma3", "olmo2"}) {
    const fs::path model = golden_model(golden);
    written(model, out, "L1:rotate(at=values) L*:f32 embed:f32");
    EXPECT_LT(distance(exact_logits(model, golden), exact_logits(out, golden)), 1e-3) << golden;
    EXPECT_FALSE(fs::remove(out) && fs::exists(out));
  }
}

// The head of a tied model gets a matrix of its own, in both containers.
TEST(Rotate, UntiesTheHead) {
  const TemporaryFolder temporary;
  const std::vector<float> wanted = exact_logits(golden_model("gqa"), "gqa");
  const fs::path folder = folder_alone(golden_folder() / "gqa", temporary);
  const fs::path out = temporary.path() / "out";
  const CompressReport report = written(folder, out, "L*:rotate L*:f32 embed:f32 head:f32");
  EXPECT_FALSE(opened(out).config().at("tie_word_embeddings").get<bool>());
  EXPECT_NE(opened(out).find("lm_head.weight"), nullptr);
  EXPECT_LT(distance(wanted, exact_logits(out, "gqa")), 1e-3);
  EXPECT_THAT(report.passes.at(0).notes.at(0), HasSubstr("a matrix of its own now"));
  written(out, temporary.path() / "again.gguf");
  EXPECT_LT(distance(wanted, exact_logits(temporary.path() / "again.gguf", "gqa")), 1e-3);
}

TEST(Rotate, StatisticsFollow) {
  for (const char* golden : {"gqa", "qwen2moe", "deepseek_v2_lite"}) {
    SCOPED_TRACE(golden);
    expect_statistics_follow(golden, "L*:rotate");
  }
}

TEST(Rotate, RefusesWhatItWouldChange) {
  const TemporaryFolder temporary;
  const auto refusal = [&](const std::string& golden, const std::string& recipe) {
    const auto report = write(golden_model(golden), temporary.path() / "out.gguf", recipe);
    EXPECT_FALSE(report) << golden << " " << recipe;
    return report ? std::string() : report.error().text();
  };
  EXPECT_THAT(refusal("gpt2", "L*:rotate"), HasSubstr("subtracts the mean"));
  EXPECT_THAT(refusal("stablelm", "L*:rotate"), HasSubstr("subtracts the mean"));
  EXPECT_THAT(refusal("gemma3", "L*:rotate"), HasSubstr("is followed by a norm"));
  EXPECT_THAT(refusal("olmo2", "L*:rotate"), HasSubstr("is followed by a norm"));
  EXPECT_THAT(refusal("gqa", "L0:rotate"), HasSubstr("L* expected"));
  EXPECT_THAT(refusal("gqa", "L*.attn:rotate"), HasSubstr("rotate cannot act on .attn"));
  EXPECT_THAT(refusal("gqa", "L*:rotate L*:wanda"), HasSubstr("do not keep zeros"));
  EXPECT_THAT(refusal("mamba2", "L*:rotate(at=values)"), HasSubstr("selects no attention"));
}

}  // namespace
}  // namespace lamina::compress

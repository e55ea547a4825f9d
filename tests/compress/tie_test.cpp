#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compress/conversions.h"
#include "models/structure.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;

std::vector<float> logits_of(const fs::path& path, const std::string& golden, std::vector<int64_t> pieces = {64},
                             int threads = 2) {
  ModelRun run = ModelRun::open(path, {.threads = threads, .recipe = "kv:f32"});
  return run.logits(run::read_npy<int32_t>(golden_folder() / golden / "tokens.npy", "<i4"), pieces);
}

std::vector<float> mean(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> out;
  for (size_t i = 0; i < a.size(); ++i) out.push_back(static_cast<float>((double{a[i]} + double{b[i]}) / 2));
  return out;
}

TEST(Tie, LayersShareTheMeanOfTheirMatrices) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const fs::path out = temporary.path() / "out.gguf";
  const CompressReport report = written(model, out, "L0-1.mlp:tie L*:f32");
  EXPECT_LT(report.bytes, report.bytes_before);
  const auto before = opened(model);
  const auto after = opened(out);
  const std::string up = "blk.0.ffn_up.weight";
  EXPECT_EQ(numbers_of(*after.find(up)),
            mean(numbers_of(*before.find(up)), numbers_of(*before.find("blk.1.ffn_up.weight"))));
  EXPECT_EQ(after.find("blk.1.ffn_up.weight"), nullptr);
  EXPECT_NE(after.find("blk.1.ffn_norm.weight"), nullptr) << "norms are each layer's own";
  const auto structure = models::read_structure(after.container(), after.config(), "");
  ASSERT_TRUE(structure);
  EXPECT_EQ(structure->shares.at("mlp")[1], 0);
  // A file whose layers have equal matrices gives the same.
  const fs::path twice = temporary.path() / "twice";
  written(out, twice);
  written(twice, temporary.path() / "again.gguf");
  expect_bytes(opened(temporary.path() / "again.gguf"), after);
  EXPECT_EQ(logits_of(temporary.path() / "again.gguf", "gqa"), logits_of(out, "gqa"));
  EXPECT_EQ(logits_of(out, "gqa", {1}, 1), logits_of(out, "gqa"));
}

// Factors of nearly all of the difference give the model again.
TEST(Tie, DifferencesOfLowRankBringLayersBack) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const std::vector<float> wanted = logits_of(model, "gqa");
  double last = 1e30;
  for (const int rank : {2, 8, 24}) {
    const fs::path out = temporary.path() / fmt::format("{}.gguf", rank);
    const CompressReport report = written(model, out, fmt::format("L0-1.mlp:tie(rank={})", rank));
    const std::vector<float> found = logits_of(out, "gqa");
    double error = 0;
    for (size_t i = 0; i < wanted.size(); ++i) error += std::pow(double{found[i]} - double{wanted[i]}, 2);
    EXPECT_LT(error, last) << rank;
    last = error;
    EXPECT_NE(opened(out).find("blk.0.ffn_up.weight.factor_in"), nullptr);
    EXPECT_NE(opened(out).find("blk.1.ffn_up.weight.factor_out"), nullptr);
  }
}

TEST(Tie, RefusesWhatCannotBeShared) {
  const TemporaryFolder temporary;
  const auto refusal = [&](const fs::path& model, const std::string& recipe) {
    const auto report = write(model, temporary.path() / "out.gguf", recipe);
    EXPECT_FALSE(report) << recipe;
    return report ? std::string() : report.error().text();
  };
  const fs::path gqa = golden_folder() / "gqa" / "model.gguf";
  EXPECT_THAT(refusal(gqa, "L1.mlp:tie"), HasSubstr("at least two layers a set"));
  EXPECT_THAT(refusal(golden_folder() / "mixtral" / "model.gguf", "L0-1.mlp:tie"), HasSubstr("of kind moe"));
  EXPECT_THAT(refusal(golden_folder() / "biases" / "model.gguf", "L0-1:tie"), HasSubstr("bias of its own"));
  const fs::path tied = temporary.path() / "tied.gguf";
  written(gqa, tied, "L0-1.mlp:tie");
  EXPECT_THAT(refusal(tied, "L0-1.mlp:tie"), HasSubstr("share matrices already"));
  EXPECT_THAT(refusal(tied, "L0:drop"), HasSubstr("take layers out before"));
}

TEST(Sparse, ClearsTheSmallestOfEachRow) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const fs::path out = temporary.path() / "out.gguf";
  const CompressReport report = written(model, out, "L*.mlp:magnitude(share=0.25)");
  EXPECT_THAT(report.passes.at(0).summary, HasSubstr("(25.0 %)"));
  const std::string name = "blk.0.ffn_up.weight";
  const std::vector<float> before = numbers_of(*opened(model).find(name));
  const std::vector<float> after = numbers_of(*opened(out).find(name));
  const auto columns = static_cast<size_t>(opened(model).find(name)->columns());
  for (size_t row = 0; row < before.size(); row += columns) {
    float largest_cleared = 0;
    float smallest_kept = 1e30F;
    for (size_t i = row; i < row + columns; ++i) {
      EXPECT_TRUE(after[i] == 0 || after[i] == before[i]);
      if (after[i] == 0) largest_cleared = std::max(largest_cleared, std::abs(before[i]));
      if (after[i] != 0) smallest_kept = std::min(smallest_kept, std::abs(before[i]));
    }
    EXPECT_LE(largest_cleared, smallest_kept);
  }
  written(model, temporary.path() / "groups.gguf", "L*.mlp:magnitude(pattern=two_of_four)");
  const std::vector<float> groups = numbers_of(*opened(temporary.path() / "groups.gguf").find(name));
  for (size_t i = 0; i < groups.size(); i += 4) EXPECT_GE(std::count(&groups[i], &groups[i] + 4, 0.0F), 2);
  EXPECT_THAT(write(model, temporary.path() / "x.gguf", "L*.mlp:wanda").error().text(), HasSubstr("--stats"));
  EXPECT_THAT(
      write(model, temporary.path() / "x.gguf", "L*.mlp:magnitude(share=0.3,pattern=two_of_four)").error().text(),
      HasSubstr("a share of 0.5"));
}

}  // namespace
}  // namespace lamina::compress

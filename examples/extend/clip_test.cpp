#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compress/conversions.h"
#include "recipe/technique.h"
#include "run/plan_recipe.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

fs::path model() {
  return golden_folder() / "gqa" / "model.gguf";
}

/// The largest size that a row of these numbers may have after it was clipped.
double bound_of(const float* row, int64_t inputs, double deviations) {
  double squares = 0;
  for (int64_t i = 0; i < inputs; ++i) squares += double{row[i]} * double{row[i]};
  return deviations * std::sqrt(squares / static_cast<double>(inputs));
}

TEST(Clip, DrawsBackWhatIsLargerThanTheBoundAndNothingElse) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out.gguf";
  const CompressReport report = written(model(), out, "L0.mlp:clip(deviations=1.5) L*:f32");
  const auto before = opened(model());
  const auto after = opened(out);
  int64_t clipped = 0;
  for (const format::NamedTensor& tensor : before.tensors()) {
    const std::string name(tensor.name);
    const std::vector<float> old = numbers_of(tensor.view);
    const std::vector<float> now = numbers_of(*after.find(name));
    if (!name.starts_with("blk.0.ffn_") || name.contains("norm")) {
      EXPECT_EQ(now, old) << name;
      continue;
    }
    const int64_t inputs = tensor.view.columns();
    for (int64_t at = 0; at < std::ssize(old); at += inputs) {
      const double bound = bound_of(&old[static_cast<size_t>(at)], inputs, 1.5);
      for (int64_t i = at; i < at + inputs; ++i) {
        const double x = old[static_cast<size_t>(i)];
        const double wanted = std::abs(x) > bound ? std::copysign(bound, x) : x;
        ASSERT_NEAR(now[static_cast<size_t>(i)], wanted, 1e-6 * bound) << name << " " << i;
        clipped += std::abs(x) > bound ? 1 : 0;
      }
    }
  }
  ASSERT_EQ(report.passes.size(), 1U);
  EXPECT_GT(clipped, 0);
  EXPECT_EQ(report.passes[0].details.at("clipped").get<int64_t>(), clipped);
  EXPECT_EQ(report.passes[0].details.at("matrices").get<int64_t>(), 3);
}

TEST(Clip, AWideBoundChangesNoByte) {
  const TemporaryFolder temporary;
  const CompressReport report = written(model(), temporary.path() / "out.gguf", "L*:clip(deviations=100)");
  EXPECT_THAT(report.passes.at(0).summary, HasSubstr("0 of"));
  expect_bytes(opened(temporary.path() / "out.gguf"), opened(model()));
}

TEST(Clip, RefusesWhatItCannotDo) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out.gguf";
  EXPECT_THAT(write(model(), out, "L*:clip(deviations=0.5)").error().text(), HasSubstr("1"));
  EXPECT_THAT(write(golden_folder() / "mamba2" / "model.gguf", out, "L*.mlp:clip").error().text(),
              HasSubstr("selects no matrix"));
  EXPECT_FALSE(fs::exists(out));
}

TEST(Clip, IsListedAndRefusedInARun) {
  const recipe::Technique* technique = recipe::find_technique(recipe::Place::kWeights, "clip");
  ASSERT_NE(technique, nullptr);
  EXPECT_TRUE(technique->writes);
  const auto built = models::Model::build(model(), {});
  ASSERT_TRUE(built);
  const auto plan = run::plan_recipe(std::string(technique->example), **built);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().text(), HasSubstr("compress"));
}

}  // namespace
}  // namespace lamina::compress

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compress/conversions.h"
#include "compress/linear_algebra.h"
#include "models/vocabulary.h"
#include "support/trained_models.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;

TEST(Regression, FindsTheMatrixThatMadeItsTargets) {
  const std::vector<float> a{1, 2, 3, 4, 5, 7, 0, 1, 1, 2};  // 5 rows of 2
  std::vector<float> b;
  for (size_t r = 0; r < 5; ++r) {
    b.push_back(2 * a[2 * r] - a[2 * r + 1]);
    b.push_back(a[2 * r] + 3 * a[2 * r + 1]);
    b.push_back(0);
  }
  Regression regression(2, 3);
  regression.add(std::span(a).first(4), std::span(b).first(6), 2);
  regression.add(std::span(a).subspan(4), std::span(b).subspan(6), 3);
  const auto fit = regression.solve(0);
  ASSERT_TRUE(fit);
  const std::vector<double> wanted{2, 1, 0, -1, 3, 0};
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(fit->coefficients[i], wanted[i], 1e-6) << i;
  EXPECT_NEAR(fit->explained, 1, 1e-9);
  EXPECT_LT(regression.solve(1)->explained, 0.999);
}

TEST(Fold, NeedsText) {
  const TemporaryFolder temporary;
  for (const char* recipe : {"L1.attn:fold", "L*.mlp:units"}) {
    const auto refused = write(golden_folder() / "gqa" / "model.gguf", temporary.path() / "out.gguf", recipe);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text(), HasSubstr("--calibration expected"));
  }
}

/// How far, on average, logits over held-out text are from those of `model`: the divergence in nats.
double divergence(const fs::path& changed, const fs::path& model, const std::vector<int32_t>& tokens) {
  ModelRun before = ModelRun::open(model, {.context = 512});
  ModelRun after = ModelRun::open(changed, {.context = 512});
  const std::vector<float> a = before.logits(tokens, {64});
  const std::vector<float> b = after.logits(tokens, {64});
  const auto width = static_cast<size_t>(before.model->head().outputs());
  double sum = 0;
  for (size_t at = 0; at < a.size(); at += width) {
    double total_a = 0;
    double total_b = 0;
    for (size_t i = at; i < at + width; ++i) {
      total_a += std::exp(double{a[i]});
      total_b += std::exp(double{b[i]});
    }
    for (size_t i = at; i < at + width; ++i) {
      const double p = std::exp(double{a[i]}) / total_a;
      sum += p * (double{a[i]} - double{b[i]} - std::log(total_a) + std::log(total_b));
    }
  }
  return sum / static_cast<double>(a.size() / width);
}

class RealPasses : public testing::Test {
 protected:
  void SetUp() override {
    const auto model = trained_model("dense");
    if (!model) GTEST_SKIP() << "no trained models";
    model_ = *model;
    const auto text = trained_models() / "eval" / "calibration.txt";
    std::ifstream file(text, std::ios::binary);
    std::string some(40000, '\0');
    file.read(some.data(), std::ssize(some));
    std::ofstream(temporary_.path() / "text.txt") << some;
    const auto tokenizer = models::load_tokenizer(model_);
    ASSERT_TRUE(tokenizer);
    std::ifstream held_out(trained_models() / "eval" / "luke.txt", std::ios::binary);
    std::string other(1200, '\0');
    held_out.read(other.data(), std::ssize(other));
    tokens_ = tokenizer->encode(other, {.add_special = false, .parse_special = false}).value();
    tokens_.resize(std::min<size_t>(tokens_.size(), 256));
  }
  double after(const std::string& recipe, bool text = true) {
    core::ThreadPool pool(2);
    CompressOptions options{.model = model_, .out = temporary_.path() / "out.gguf", .recipe = recipe, .force = true};
    if (text) options.calibration = {temporary_.path() / "text.txt"};
    const auto report = compress(options, pool, {});
    EXPECT_TRUE(report) << recipe << ": " << report.error().text();
    if (!report) return 1e30;
    last_ = *report;
    return divergence(temporary_.path() / "out.gguf", model_, tokens_);
  }

  const TemporaryFolder temporary_;
  fs::path model_;
  std::vector<int32_t> tokens_;
  CompressReport last_;
};

TEST_F(RealPasses, FoldingLosesLessThanDropping) {
  for (const char* part : {".attn", ".mlp", ""}) {
    const double dropped = after(fmt::format("L6{}:drop", part), false);
    EXPECT_LT(after(fmt::format("L6{}:fold", part)), dropped) << part;
    const double explained = last_.passes.at(0).details.at("folds").at(0).at("explained");
    EXPECT_GT(explained, 0) << part;
    EXPECT_LE(explained, 1) << part;
  }
}

TEST_F(RealPasses, UnitsThatHardlyVaryCostLessThanOthers) {
  const double quarter = after("L*.mlp:units(share=0.25)");
  EXPECT_GT(last_.bytes_before, last_.bytes);
  EXPECT_LT(after("L*.mlp:units(share=0.125)"), quarter);
  EXPECT_LT(quarter, after("L*.mlp:units(share=0.25,means=leave)"));
}

}  // namespace
}  // namespace lamina::compress

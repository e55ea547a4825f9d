#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compress/conversions.h"
#include "compress/linear_algebra.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using nlohmann::json;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;

std::vector<double> product_of(const Factors& factors) {
  std::vector<double> out;
  for (int64_t o = 0; o < factors.second.outputs; ++o) {
    for (int64_t i = 0; i < factors.first.inputs; ++i) {
      double sum = 0;
      for (int64_t r = 0; r < factors.first.outputs; ++r)
        sum += double{factors.second.row(o)[r]} * double{factors.first.row(r)[i]};
      out.push_back(sum);
    }
  }
  return out;
}

// svd_reference.json is made by make_svd_reference.py with numpy.
TEST(Factorize, FindsLapacksSingularValuesAndProducts) {
  for (const json& one : run::read_json(source_dir() / "tests/compress/svd_reference.json")) {
    const Matrix matrix{.outputs = one.at("outputs"),
                        .inputs = one.at("inputs"),
                        .numbers = one.at("matrix").get<std::vector<float>>()};
    const auto weights = one.at("weights").get<std::vector<double>>();
    stats::Gram gram(matrix.inputs);
    if (one.contains("gram")) {
      std::ranges::copy(one.at("gram").get<std::vector<double>>(), gram.change().begin());
      gram.add_rows(one.at("rows"));
    }
    const auto found = factorize(matrix, weights, &gram, {.rank = one.at("rank")});
    ASSERT_TRUE(found) << found.error().text();
    const Factors& factors = *found;
    const auto singular = one.at("singular").get<std::vector<double>>();
    ASSERT_EQ(factors.singular.size(), singular.size());
    for (size_t i = 0; i < singular.size(); ++i) EXPECT_NEAR(factors.singular[i], singular[i], 1e-7 * singular[0]) << i;
    EXPECT_EQ(factors.first.outputs, one.at("rank").get<int64_t>());
    const auto wanted = one.at("product").get<std::vector<double>>();
    const std::vector<double> product = product_of(factors);
    double error = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_NEAR(product[i], wanted[i], 2e-6 * singular[0]) << i;
      if (!one.contains("error")) continue;
      const double weight = weights.empty() ? 1 : weights[i % weights.size()];
      error += std::pow((product[i] - double{matrix.numbers[i]}) * weight, 2);
    }
    if (one.contains("error")) {
      EXPECT_NEAR(std::sqrt(error), one.at("error").get<double>(), 1e-5 * singular[0]);
    }
  }
}

TEST(Factorize, EnergyChoosesTheLeastRank) {
  const std::vector<double> singular{3, 2, 1, 0.1};
  EXPECT_EQ(rank_for(singular, 0.5), 1);
  EXPECT_EQ(rank_for(singular, 0.9), 2);
  EXPECT_EQ(rank_for(singular, 0.95), 3);
  EXPECT_EQ(rank_for(singular, 1), 4);
}

TEST(Solve, GivesWhatTheMatrixMakesOfIt) {
  const std::vector<double> gram{4, 1, 0.5, 1, 3, 0.25, 0.5, 0.25, 2};
  const std::vector<double> right{1, 2, 3, 4, 5, 6};
  const auto found = solve_symmetric(gram, 3, right, 0.5);
  ASSERT_TRUE(found);
  for (size_t row = 0; row < 3; ++row) {
    for (size_t column = 0; column < 2; ++column) {
      double sum = 0;
      for (size_t k = 0; k < 3; ++k) sum += (gram[3 * row + k] + (k == row ? 0.5 * 3 : 0)) * (*found)[2 * k + column];
      EXPECT_NEAR(sum, right[2 * row + column], 1e-9);
    }
  }
  EXPECT_FALSE(solve_symmetric(std::vector<double>{-1, 0, 0, -1}, 2, std::vector<double>{1, 1}, 0));
}

std::vector<float> logits_of(const fs::path& path, const std::string& golden, const std::string& recipe = "kv:f32",
                             int threads = 2, std::vector<int64_t> pieces = {64}) {
  ModelRun run = ModelRun::open(path, {.threads = threads, .recipe = recipe});
  return run.logits(run::read_npy<int32_t>(golden_folder() / golden / "tokens.npy", "<i4"), pieces);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double square = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    square += std::pow(double{a[i]} - double{b[i]}, 2);
    size += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(square / size);
}

// Factors of nearly full rank give the matrix again, whatever the container.
TEST(Svd, FactorsRunAsTheMatrixThatTheyStandFor) {
  for (const char* golden : {"gqa", "biases", "qwen3", "gemma2"}) {
    const TemporaryFolder temporary;
    const fs::path model = golden_folder() / golden / "model.gguf";
    const fs::path out = temporary.path() / "out.gguf";
    const CompressReport report = written(model, out, "L*:svd(energy=0.999999)");
    ASSERT_EQ(report.passes.size(), 1U);
    if (report.passes[0].details.at("matrices").empty()) continue;
    EXPECT_LT(distance(logits_of(out, golden), logits_of(model, golden)), 0.02) << golden;
  }
}

TEST(Svd, SavesNumbersAndConvertsWithTheRest) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const fs::path small = temporary.path() / "small.gguf";
  const CompressReport report = written(model, small, "L*.mlp:svd(rank=8)");
  EXPECT_LT(report.bytes, report.bytes_before);
  EXPECT_THAT(report.passes.at(0).summary, HasSubstr("became two factors, 0 stay whole"));
  const auto files = opened(small);
  EXPECT_EQ(files.find("blk.0.ffn_up.weight"), nullptr);
  ASSERT_NE(files.find("blk.0.ffn_up.weight.factor_in"), nullptr);
  EXPECT_EQ(files.find("blk.0.ffn_up.weight.factor_in")->shape[0], 8);
  const std::vector<float> wanted = logits_of(small, "gqa");
  EXPECT_EQ(logits_of(small, "gqa", "kv:f32", 1, {1}), wanted) << "results depend on threads or pieces";
  written(small, temporary.path() / "folder");
  EXPECT_LT(distance(logits_of(temporary.path() / "folder", "gqa"), wanted), 1e-5);
  written(temporary.path() / "folder", temporary.path() / "again.gguf");
  expect_bytes(opened(temporary.path() / "again.gguf"), files);
  // With a codec for the factors, and layers taken out before.
  written(golden_folder() / "gemma3" / "model.gguf", temporary.path() / "d.gguf",
          "L1:drop L*.q:svd(rank=4) L*.attn:f16");
  EXPECT_EQ(opened(temporary.path() / "d.gguf").find("blk.0.attn_q.weight.factor_out")->format->name, "f16");
  written(temporary.path() / "d.gguf", temporary.path() / "e.gguf", "L0:drop");
  EXPECT_NE(opened(temporary.path() / "e.gguf").find("blk.0.attn_q.weight.factor_out"), nullptr);
}

TEST(Svd, RefusesAndLeavesWhatItCannotDo) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out.gguf";
  const auto refusal = [&](const std::string& golden, const std::string& recipe) {
    const auto report = write(golden_folder() / golden / "model.gguf", out, recipe);
    EXPECT_FALSE(report) << recipe;
    return report ? std::string() : report.error().text();
  };
  EXPECT_THAT(refusal("gqa", "L*.mlp:svd"), HasSubstr("one of rank= and energy= expected"));
  EXPECT_THAT(refusal("gqa", "L*.mlp:svd(rank=4,energy=0.5)"), HasSubstr("one of rank="));
  EXPECT_THAT(refusal("mixtral", "L*.mlp:svd(rank=4)"), HasSubstr("selects no matrix"));
  const CompressReport whole = written(golden_folder() / "gqa" / "model.gguf", out, "L*.mlp:svd(rank=10000)");
  EXPECT_EQ(whole.bytes, whole.bytes_before);
  EXPECT_THAT(whole.notes.at(0), HasSubstr("stay whole"));
  const fs::path twice = temporary.path() / "twice.gguf";
  written(golden_folder() / "gqa" / "model.gguf", twice, "L*.mlp:svd(rank=8)");
  const auto again = write(twice, temporary.path() / "thrice.gguf", "L*.mlp:svd(rank=4)");
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().text(), HasSubstr("is a factor already"));
}

}  // namespace
}  // namespace lamina::compress

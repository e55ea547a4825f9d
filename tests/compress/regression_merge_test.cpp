#include "compress/regression_merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "compress/conversions.h"
#include "compress/layer_grams.h"
#include "compress/linear_algebra.h"
#include "models/vocabulary.h"
#include "stats/collector.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

std::vector<float> random_numbers(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

/// X^T X of rows of numbers.
stats::Gram gram_of(const std::vector<float>& rows, int64_t inputs) {
  stats::Gram gram(inputs);
  const std::span<double> sums = gram.change();
  const int64_t count = std::ssize(rows) / inputs;
  for (int64_t r = 0; r < count; ++r) {
    const float* x = rows.data() + r * inputs;
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t j = 0; j <= i; ++j)
        sums[static_cast<size_t>(stats::triangle_row(i) + j)] += double{x[i]} * double{x[j]};
    }
  }
  gram.add_rows(count);
  return gram;
}

/// The largest entry of the error's gradient, sum of weight / rows * G (W - W_m)^T: 0 where W is the best there is.
double gradient(const Matrix& merged, std::span<const Matrix> models, std::span<const stats::Gram* const> grams,
                std::span<const double> weights) {
  double largest = 0;
  for (int64_t o = 0; o < merged.outputs; ++o) {
    for (int64_t i = 0; i < merged.inputs; ++i) {
      double sum = 0;
      for (size_t m = 0; m < models.size(); ++m) {
        for (int64_t j = 0; j < merged.inputs; ++j) {
          sum += weights[m] / static_cast<double>(grams[m]->rows()) * grams[m]->at(i, j) *
                 (double{merged.row(o)[j]} - double{models[m].row(o)[j]});
        }
      }
      largest = std::max(largest, std::abs(sum));
    }
  }
  return largest;
}

TEST(RegressionMean, HasTheLeastErrorOfOutputs) {
  constexpr int64_t kInputs = 6;
  const std::vector<Matrix> models{{.outputs = 4, .inputs = kInputs, .numbers = random_numbers(24, 1)},
                                   {.outputs = 4, .inputs = kInputs, .numbers = random_numbers(24, 2)}};
  const stats::Gram a = gram_of(random_numbers(9 * kInputs, 3), kInputs);
  const stats::Gram b = gram_of(random_numbers(30 * kInputs, 4), kInputs);
  const std::vector<const stats::Gram*> grams{&a, &b};
  const std::vector<double> weights{0.3, 0.7};
  const auto merged = regression_mean(models, grams, weights, 1, 0);
  ASSERT_TRUE(merged);
  EXPECT_LT(gradient(*merged, models, grams, weights), 1e-5);
  EXPECT_GT(gradient(weighted_mean(models, weights), models, grams, weights), 0.05);
  // Without products of two inputs each input has a mean of its own.
  const auto by_squares = regression_mean(models, grams, weights, 0, 0);
  ASSERT_TRUE(by_squares);
  for (int64_t i = 0; i < kInputs; ++i) {
    const double first = weights[0] * a.at(i, i) / 9;
    const double second = weights[1] * b.at(i, i) / 30;
    const double wanted = (first * models[0].row(2)[i] + second * models[1].row(2)[i]) / (first + second);
    EXPECT_NEAR(by_squares->row(2)[i], wanted, 1e-5);
  }
}

TEST(RegressionMean, InputsThatNoRowTellsOfGetTheMean) {
  constexpr int64_t kInputs = 3;
  const std::vector<Matrix> models{{.outputs = 1, .inputs = kInputs, .numbers = {1, 2, 3}},
                                   {.outputs = 1, .inputs = kInputs, .numbers = {3, 6, 9}}};
  const stats::Gram a = gram_of({1, 0, 0, 2, 0, 0}, kInputs);
  const stats::Gram b = gram_of({0, 1, 0, 0, 2, 0}, kInputs);
  const std::vector<const stats::Gram*> grams{&a, &b};
  const std::vector<double> weights{0.5, 0.5};
  const auto merged = regression_mean(models, grams, weights, 1, 1e-5);
  ASSERT_TRUE(merged);
  EXPECT_NEAR(merged->numbers[0], 1, 1e-4) << "only the first model reads it";
  EXPECT_NEAR(merged->numbers[1], 6, 1e-4) << "only the second model reads it";
  EXPECT_NEAR(merged->numbers[2], 6, 1e-4) << "no model reads it";
  const auto refused = regression_mean(models, grams, weights, 1, 0);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("not positive"));
}

class RegressionMerge : public testing::Test {
 protected:
  void SetUp() override {
    written(first_, second_, "L*:magnitude(share=0.4)");
    for (const auto& [file, seed] : {std::pair(text_a_, 1U), std::pair(text_b_, 2U)}) {
      std::mt19937 random(seed);
      std::ofstream out(file);
      for (int i = 0; i < 900; ++i) out << static_cast<char>('a' + random() % 26);
    }
  }
  core::Result<CompressReport> merged(const fs::path& other, const std::vector<fs::path>& texts,
                                      const std::string& recipe, int threads = 2) {
    core::ThreadPool pool(threads);
    return compress({.model = first_,
                     .out = out_,
                     .recipe = recipe,
                     .force = true,
                     .merge = {.others = {other}, .base = {}, .texts = texts}},
                    pool, {});
  }
  stats::Statistics statistics_of(const fs::path& model, const fs::path& text) {
    run::ModelRun run = run::ModelRun::open(model, {.context = 256, .max_rows = 256});
    const auto tokens = read_tokens(text, run.model->files(), 8192).value();
    return stats::collect(*run.runner, *run.pool, tokens,
                          {.window = 256, .collector = {.grams = true, .most_gram_bytes = int64_t{1} << 30}}, {})
        .value();
  }

  const TemporaryFolder temporary_;
  const fs::path first_ = golden_folder() / "gqa" / "model.gguf";
  const fs::path second_ = temporary_.path() / "second.gguf";
  const fs::path out_ = temporary_.path() / "out.gguf";
  const fs::path text_a_ = temporary_.path() / "a.txt";
  const fs::path text_b_ = temporary_.path() / "b.txt";
};

TEST_F(RegressionMerge, AModelWithItselfIsTheModel) {
  for (const char* recipe : {"merge:regmean", "merge:regmean(inputs=own,alpha=1)"}) {
    const auto report = merged(first_, {text_a_}, recipe);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->passes.at(0).details.at("plain").get<int>(), 0);
    const auto source = opened(first_);
    const auto found = opened(out_);
    for (const format::NamedTensor& tensor : source.tensors()) {
      const std::vector<float> wanted = numbers_of(tensor.view);
      const std::vector<float> numbers = numbers_of(*found.find(tensor.name));
      for (size_t i = 0; i < wanted.size(); ++i)
        ASSERT_NEAR(numbers[i], wanted[i], 1e-4) << recipe << " " << tensor.name << " " << i;
    }
  }
}

// The statistics' pass sums the same products in its own way.
TEST_F(RegressionMerge, MatricesHaveTheLeastErrorForWhatEachModelReads) {
  const auto report = merged(second_, {text_a_, text_b_}, "merge:regmean(inputs=own,alpha=1)");
  ASSERT_TRUE(report) << report.error().text();
  const stats::Statistics a = statistics_of(first_, text_a_);
  const stats::Statistics b = statistics_of(second_, text_b_);
  for (const char* name : {"blk.0.attn_v.weight", "blk.1.ffn_gate.weight", "blk.1.ffn_down.weight"}) {
    std::vector<Matrix> models;
    for (const fs::path& file : {first_, second_, out_}) {
      const auto files = opened(file);
      const core::TensorView& view = *files.find(name);
      models.push_back({.outputs = view.rows(), .inputs = view.columns(), .numbers = numbers_of(view)});
    }
    const Matrix merged = models.back();
    models.pop_back();
    const std::vector<const stats::Gram*> grams{a.gram(*a.find(name), 0), b.gram(*b.find(name), 0)};
    ASSERT_NE(grams[0], nullptr);
    const std::vector<double> weights{0.5, 0.5};
    EXPECT_LT(gradient(merged, models, grams, weights),
              0.02 * gradient(weighted_mean(models, weights), models, grams, weights))
        << name;
  }
}

TEST_F(RegressionMerge, LayersReadWhatMergedOnesMake) {
  ASSERT_TRUE(merged(second_, {text_a_, text_b_}, "merge:regmean(inputs=own)"));
  const auto own = numbers_of(*opened(out_).find("blk.0.attn_q.weight"));
  const auto own_last = numbers_of(*opened(out_).find("blk.1.ffn_down.weight"));
  const auto report = merged(second_, {text_a_, text_b_}, "merge:regmean", 1);
  ASSERT_TRUE(report);
  const auto files = opened(out_);
  EXPECT_NE(numbers_of(*files.find("blk.1.ffn_down.weight")), own_last);
  // No bit depends on threads.
  const fs::path kept = temporary_.path() / "kept.gguf";
  fs::rename(out_, kept);
  ASSERT_TRUE(merged(second_, {text_a_, text_b_}, "merge:regmean", 5));
  expect_bytes(opened(out_), opened(kept));
}

TEST_F(RegressionMerge, RefusesWhatItCannotDo) {
  const auto refusal = [&](const std::vector<fs::path>& texts, const std::string& recipe) {
    const auto report = merged(second_, texts, recipe);
    EXPECT_FALSE(report) << recipe;
    return report ? std::string() : report.error().text();
  };
  EXPECT_THAT(refusal({}, "merge:regmean"), HasSubstr("--calibration with a text for each of 2 models"));
  EXPECT_THAT(refusal({text_a_, text_b_, text_a_}, "merge:regmean"), HasSubstr("not 3"));
  EXPECT_THAT(refusal({text_a_}, "merge:linear"), HasSubstr("no use for --calibration"));
  EXPECT_THAT(refusal({text_a_}, "merge:regmean(tokens=20)"), HasSubstr("20 tokens; at least one window"));
  EXPECT_THAT(refusal({temporary_.path() / "none.txt"}, "merge:regmean"), HasSubstr("cannot be read"));
  EXPECT_FALSE(fs::exists(out_));
}

}  // namespace
}  // namespace lamina::compress

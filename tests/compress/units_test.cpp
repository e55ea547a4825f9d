#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "compress/conversions.h"
#include "compress/linear_algebra.h"
#include "stats/collector.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

constexpr int64_t kInputs = 5;

/// Rows whose last input is nearly twice the first, and their sums.
struct Rows {
  std::vector<float> numbers;
  stats::Gram gram{kInputs};
  std::vector<float> squares = std::vector<float>(kInputs);

  explicit Rows(int64_t count) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const std::span<double> sums = gram.change();
    for (int64_t r = 0; r < count; ++r) {
      std::vector<float> x(kInputs);
      for (float& number : x) number = normal(random);
      x[4] = 2 * x[0] + 0.01F * x[4];
      for (int64_t i = 0; i < kInputs; ++i) {
        const float own = x[static_cast<size_t>(i)];
        squares[static_cast<size_t>(i)] += own * own / static_cast<float>(count);
        for (int64_t j = 0; j <= i; ++j)
          sums[static_cast<size_t>(stats::triangle_row(i) + j)] += double{own} * double{x[static_cast<size_t>(j)]};
      }
      numbers.insert(numbers.end(), x.begin(), x.end());
    }
    gram.add_rows(count);
  }

  /// Mean square of what is left of the outputs of `matrix` without those of `fewer`, row by row.
  double error(const Matrix& matrix, const Matrix& fewer, const std::vector<size_t>& kept) const {
    double sum = 0;
    const int64_t count = std::ssize(numbers) / kInputs;
    for (int64_t r = 0; r < count; ++r) {
      const float* x = numbers.data() + r * kInputs;
      for (int64_t o = 0; o < matrix.outputs; ++o) {
        double difference = 0;
        for (int64_t i = 0; i < kInputs; ++i) difference += double{matrix.row(o)[i]} * double{x[i]};
        for (size_t k = 0; k < kept.size(); ++k) difference -= double{fewer.row(o)[k]} * double{x[kept[k]]};
        sum += difference * difference;
      }
    }
    return sum / static_cast<double>(count);
  }
};

TEST(FewerColumns, ThoseThatStayDoTheWorkOfAll) {
  const Rows rows(60);
  const Matrix matrix{.outputs = 2, .inputs = kInputs, .numbers = {1, 2, -1, 0.5F, 3, -2, 1, 1, 4, 1}};
  const std::vector<size_t> kept{0, 1, 2, 3};
  const auto refit = keep_best_columns(matrix, rows.squares, &rows.gram, kept);
  const auto plain = keep_best_columns(matrix, rows.squares, nullptr, kept);
  ASSERT_TRUE(refit);
  ASSERT_TRUE(plain);
  EXPECT_TRUE(refit->refit);
  EXPECT_FALSE(plain->refit);
  EXPECT_EQ(plain->matrix.numbers, (std::vector<float>{1, 2, -1, 0.5F, -2, 1, 1, 4}));
  EXPECT_NEAR(plain->error, 10 * rows.squares[4], 1e-4 * plain->error) << "(3^2 + 1^2) * the mean square";
  EXPECT_NEAR(refit->error, rows.error(matrix, refit->matrix, kept), 1e-5);
  EXPECT_NEAR(refit->whole, rows.error(matrix, {.outputs = 2, .inputs = 0}, {}), 1e-4 * refit->whole);
  EXPECT_LT(refit->error, 0.01 * plain->error) << "the first input tells the last one";
  EXPECT_NEAR(refit->matrix.row(0)[0], 1 + 2 * 3, 0.1);
}

class Units : public testing::Test {
 protected:
  core::Result<CompressReport> thin(const fs::path& model, const std::string& recipe, bool grams = true) {
    run::ModelRun run = run::ModelRun::open(model, {});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 256; ++i)
      tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31) % run.model->vocabulary()));
    const auto statistics =
        stats::collect(*run.runner, *run.pool, tokens,
                       {.window = 32, .collector = {.grams = grams, .most_gram_bytes = int64_t{1} << 30}}, {});
    const fs::path file = temporary_.path() / "stats.safetensors";
    EXPECT_TRUE(stats::save(*statistics, file));
    core::ThreadPool pool(2);
    return compress({.model = model, .out = out_, .recipe = recipe, .statistics = file, .force = true}, pool, {});
  }
  std::vector<float> logits(const fs::path& model) {
    run::ModelRun run = run::ModelRun::open(model, {});
    return run.logits({5, 9, 2, 30, 11, 7, 3, 8}, {8});
  }

  const TemporaryFolder temporary_;
  const fs::path out_ = temporary_.path() / "out.gguf";
};

TEST_F(Units, AreTakenOutOfAllThreeMatricesAndTheSettings) {
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const auto report = thin(model, "L*.mlp:units(share=0.25,step=8) L*:f32", false);
  ASSERT_TRUE(report) << report.error().text();
  const auto before = opened(model);
  const auto after = opened(out_);
  const auto width = after.config().at("llama.feed_forward_length").get<int64_t>();
  EXPECT_LT(width, before.config().at("llama.feed_forward_length").get<int64_t>());
  EXPECT_EQ(width % 8, 0);
  const core::TensorView& up = *after.find("blk.1.ffn_up.weight");
  const core::TensorView& down = *after.find("blk.1.ffn_down.weight");
  EXPECT_EQ(up.rows(), width);
  EXPECT_EQ(down.columns(), width);
  // Rows and columns that stay are those of the model, in its order, the same units in all three.
  const std::vector<float> old_up = numbers_of(*before.find("blk.1.ffn_up.weight"));
  const std::vector<float> old_down = numbers_of(*before.find("blk.1.ffn_down.weight"));
  const std::vector<float> new_up = numbers_of(up);
  const std::vector<float> new_down = numbers_of(down);
  const auto inputs = static_cast<size_t>(up.columns());
  const size_t old_width = old_up.size() / inputs;
  size_t unit = 0;
  for (size_t kept = 0; kept < static_cast<size_t>(width); ++kept, ++unit) {
    const auto same = [&] {
      return std::equal(&new_up[kept * inputs], &new_up[kept * inputs] + inputs, &old_up[unit * inputs]);
    };
    while (unit < old_width && !same()) ++unit;
    ASSERT_LT(unit, old_width) << kept;
    for (size_t o = 0; o < inputs; ++o)
      ASSERT_EQ(new_down[o * static_cast<size_t>(width) + kept], old_down[o * old_width + unit]);
  }
  EXPECT_NE(logits(out_), logits(model));
}

TEST_F(Units, ThatStayAreFittedWithGramMatrices) {
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const auto plain = thin(model, "L*.mlp:units(share=0.25,step=8)", false);
  const auto fitted = thin(model, "L*.mlp:units(share=0.25,step=8)");
  ASSERT_TRUE(plain);
  ASSERT_TRUE(fitted) << fitted.error().text();
  const auto lost = [](const CompressReport& report) { return report.passes.at(0).details.at("lost").get<double>(); };
  EXPECT_LT(lost(*fitted), lost(*plain));
  EXPECT_GT(lost(*fitted), 0);
  // What was thinned is rounded by the statistics of the units that are left.
  const auto rounded = thin(model, "L*.mlp:units(share=0.25,step=32) L*:gptq+q4_0");
  ASSERT_TRUE(rounded) << rounded.error().text();
  for (const TensorReport& tensor : rounded->tensors) {
    EXPECT_TRUE(tensor.gptq || !tensor.name.contains("ffn_down")) << tensor.name << tensor.note;
  }
}

TEST_F(Units, WorkInEveryContainerAndFamily) {
  for (const char* name : {"gpt2", "biases", "gemma3", "phi3"}) {
    const fs::path folder = folder_alone(golden_folder() / name, temporary_);
    const auto report = thin(folder, "L*.mlp:units(share=0.3,step=1)");
    if (!report) {
      EXPECT_THAT(report.error().text(), HasSubstr("is not one whole matrix")) << name;
      continue;
    }
    EXPECT_LT(report->bytes, written(folder, temporary_.path() / (std::string(name) + ".gguf")).bytes) << name;
    for (const float x : logits(out_)) ASSERT_TRUE(std::isfinite(x)) << name;
  }
}

TEST_F(Units, HeadsGoWithTheirKeysAndValues) {
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const auto report = thin(model, "L*.attn:heads(groups=1) L*:f32", false);
  ASSERT_TRUE(report) << report.error().text();
  const auto before = opened(model);
  const auto after = opened(out_);
  const auto number = [](const format::ModelFiles& files, const char* key) {
    return files.config().at(key).get<int64_t>();
  };
  const int64_t groups = number(before, "llama.attention.head_count_kv");
  const int64_t together = number(before, "llama.attention.head_count") / groups;
  EXPECT_EQ(number(after, "llama.attention.head_count_kv"), groups - 1);
  EXPECT_EQ(number(after, "llama.attention.head_count"), (groups - 1) * together);
  const int64_t size = number(after, "llama.attention.key_length");
  EXPECT_EQ(after.find("blk.0.attn_k.weight")->rows(), (groups - 1) * size);
  // The run without the heads: their output is nothing where their columns are 0.
  const auto kept = report->passes.at(0).details.at("attentions").at(0).at("kept").get<std::vector<int64_t>>();
  ASSERT_EQ(std::ssize(kept), groups - 1);
  const std::vector<float> old_q = numbers_of(*before.find("blk.0.attn_q.weight"));
  const std::vector<float> new_q = numbers_of(*after.find("blk.0.attn_q.weight"));
  const int64_t block = together * size * before.find("blk.0.attn_q.weight")->columns();
  for (size_t g = 0; g < kept.size(); ++g)
    EXPECT_TRUE(std::equal(&old_q[static_cast<size_t>(kept[g] * block)],
                           &old_q[static_cast<size_t>(kept[g] * block)] + block,
                           &new_q[g * static_cast<size_t>(block)]));
  for (const float x : logits(out_)) ASSERT_TRUE(std::isfinite(x));
  const auto fitted = thin(model, "L*.attn:heads(groups=1)");
  ASSERT_TRUE(fitted);
  EXPECT_LT(fitted->passes.at(0).details.at("lost").get<double>(),
            report->passes.at(0).details.at("lost").get<double>());
  EXPECT_THAT(thin(model, fmt::format("L*.attn:heads(groups={})", groups)).error().text(), HasSubstr("fewer expected"));
  EXPECT_THAT(thin(model, "L1.attn:heads(groups=1)").error().text(), HasSubstr("L*.attn of a model"));
}

TEST_F(Units, RefusesWhatItCannotThin) {
  const fs::path gqa = golden_folder() / "gqa" / "model.gguf";
  EXPECT_THAT(write(gqa, out_, "L*.mlp:units(share=0.2)").error().text(), HasSubstr("--stats"));
  EXPECT_THAT(thin(gqa, "L0.mlp:units(share=0.2)").error().text(), HasSubstr("L*.mlp expected"));
  EXPECT_THAT(thin(golden_folder() / "mixtral" / "model.gguf", "L*.mlp:units(share=0.2)").error().text(),
              HasSubstr("of kind moe"));
  EXPECT_THAT(write(gqa, out_, "L*:units(share=0.2)").error().text(), HasSubstr("mlp"));
  const auto nothing = thin(gqa, "L*.mlp:units(share=0)");
  ASSERT_TRUE(nothing);
  EXPECT_THAT(nothing->notes.at(0), HasSubstr("nothing goes"));
  expect_bytes(opened(out_), opened(gqa));
}

}  // namespace
}  // namespace lamina::compress

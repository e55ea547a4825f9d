#include "stats/collector.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "run/model_runs.h"
#include "stats/keep_rows.h"

namespace lamina::stats {
namespace {

using run::golden_folder;
using run::ModelRun;

std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary, int seed = 3) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + seed * 13 + 5) % vocabulary));
  return tokens;
}

Statistics collect_from(ModelRun& run, int64_t tokens, int64_t window, int seed = 3) {
  return collect(*run.runner, *run.pool, some_tokens(tokens, run.model->vocabulary(), seed), {.window = window}, {})
      .value();
}

Statistics grams_from(ModelRun& run, int64_t tokens, int64_t window, int seed = 3) {
  return collect(*run.runner, *run.pool, some_tokens(tokens, run.model->vocabulary(), seed),
                 {.window = window, .collector = {.grams = true, .most_gram_bytes = int64_t{1} << 30}}, {})
      .value();
}

TEST(Collector, SquaresAreThoseOfTheRowsThatAMatrixReads) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const Statistics statistics = collect_from(run, 64, 32);
  const std::string name = "blk.0.ffn_down.weight";
  KeepRows rows(name);
  run.runner->set_recorder(&rows);
  for (int64_t at = 0; at < 64; at += 32) {
    const auto all = some_tokens(64, run.model->vocabulary());
    run.logits({all.begin() + at, all.begin() + at + 32}, {32});
  }
  run.runner->set_recorder(nullptr);
  const MatrixStats* stats = statistics.find(name);
  ASSERT_NE(stats, nullptr);
  ASSERT_EQ(stats->rows, std::vector<int64_t>{64});
  ASSERT_EQ(rows.kept.size(), 64U);
  for (size_t i = 0; i < static_cast<size_t>(stats->inputs); ++i) {
    double sum = 0;
    for (const auto& row : rows.kept) sum += double{row[i]} * double{row[i]};
    EXPECT_NEAR(stats->squares[i], sum, 1e-5 * sum + 1e-12);
  }
}

TEST(Collector, EveryMatrixOfALayerIsSeenOnceForEachToken) {
  for (const char* name : {"gqa", "phi3", "gpt2", "gptneox", "gemma2"}) {
    ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf", {});
    const Statistics statistics = collect_from(run, 64, 32);
    for (const layers::Layer& layer : run.model->layers()) {
      for (const layers::Layer::Part& part : layer.parts) {
        for (const layers::Linear* linear : part.sublayer->linears()) {
          const MatrixStats* stats = statistics.find(linear->name());
          ASSERT_NE(stats, nullptr) << name << " " << linear->name();
          EXPECT_EQ(stats->rows, std::vector<int64_t>{64}) << name << " " << linear->name();
          EXPECT_EQ(stats->inputs, linear->inputs());
        }
      }
    }
  }
}

TEST(Collector, ExpertsCountTheTokensThatChoseThem) {
  ModelRun run = ModelRun::open(golden_folder() / "mixtral/model.gguf", {});
  const Statistics statistics = collect_from(run, 64, 32);
  int stacks = 0;
  for (const MatrixStats& stats : statistics.matrices) {
    if (stats.matrices() != 5) continue;
    ++stacks;
    int64_t all = 0;
    for (const int64_t rows : stats.rows) all += rows;
    EXPECT_EQ(all, 2 * 64) << stats.tensor;
  }
  EXPECT_EQ(stacks, 3 * static_cast<int>(run.model->layers().size()));
}

TEST(Collector, NothingDependsOnThreads) {
  ModelRun one = ModelRun::open(golden_folder() / "qwen3moe/model.gguf", {.threads = 1});
  ModelRun five = ModelRun::open(golden_folder() / "qwen3moe/model.gguf", {.threads = 5});
  const Statistics a = collect_from(one, 96, 48);
  const Statistics b = collect_from(five, 96, 48);
  ASSERT_EQ(a.matrices.size(), b.matrices.size());
  for (size_t i = 0; i < a.matrices.size(); ++i) EXPECT_EQ(a.matrices[i].squares, b.matrices[i].squares);
  ASSERT_EQ(a.parts.size(), b.parts.size());
  for (size_t i = 0; i < a.parts.size(); ++i) EXPECT_EQ(a.parts[i].cosine, b.parts[i].cosine);
}

TEST(Collector, PartsSayHowMuchTheyChangeTheStream) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const Statistics statistics = collect_from(run, 64, 64);
  EXPECT_EQ(statistics.parts.size(), 3 * run.model->layers().size());
  for (const PartStats& part : statistics.parts) {
    EXPECT_EQ(part.rows, 64);
    EXPECT_LE(part.cosine / 64, 1 + 1e-12);
    EXPECT_GT(part.contribution, 0);
    EXPECT_GT(part.length_before, 0);
  }
}

/// The root mean square of every row's stream at every border.
class KeepLengths : public run::BorderHook {
 public:
  void at_border(const run::Border& border, float* stream) override {
    std::vector<double>& row = lengths.emplace_back();
    for (int64_t r = 0; r < border.rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < border.hidden; ++i)
        sum += double{stream[r * border.hidden + i]} * stream[r * border.hidden + i];
      row.push_back(std::sqrt(sum / static_cast<double>(border.hidden)));
    }
  }
  std::vector<std::vector<double>> lengths;
};

TEST(Collector, LayersAreVoidWhereTheyChangeTheLengthLessThanOthersBefore) {
  ModelRun run = ModelRun::open(golden_folder() / "gemma3/model.gguf", {});
  const Statistics statistics = collect_from(run, 32, 32);
  KeepLengths kept;
  run.runner->set_hook(&kept);
  run.logits(some_tokens(32, run.model->vocabulary()), {32});
  run.runner->set_hook(nullptr);
  const size_t layers = run.model->layers().size();
  ASSERT_EQ(kept.lengths.size(), layers + 1);
  std::vector<double> most(32);
  int64_t all = 0;
  for (size_t layer = 0; layer < layers; ++layer) {
    int64_t voids = 0;
    for (size_t r = 0; r < most.size(); ++r) {
      const double change = std::abs(kept.lengths[layer + 1][r] - kept.lengths[layer][r]);
      voids += change < kVoidShare * most[r] ? 1 : 0;
      most[r] = std::max(most[r], change);
    }
    const auto part = std::ranges::find_if(statistics.parts, [&](const PartStats& one) {
      return one.layer == static_cast<int>(layer) && one.role == "layer";
    });
    ASSERT_NE(part, statistics.parts.end());
    EXPECT_EQ(part->voids, voids) << layer;
    all += voids;
  }
  EXPECT_GT(all, 0);
  EXPECT_LT(all, static_cast<int64_t>(32 * layers));
}

TEST(Collector, ATextShorterThanAWindowIsRefusedWithBothNumbers) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const auto found = collect(*run.runner, *run.pool, some_tokens(10, 50), {.window = 32}, {});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().text(), "calibration text: 10 tokens; at least one window of 32 expected");
}

TEST(Gram, IsThatOfTheRowsThatAMatrixReads) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const Statistics statistics = grams_from(run, 70, 35);
  for (const char* name : {"blk.0.ffn_down.weight", "blk.1.attn_v.weight", "blk.1.ffn_gate.weight"}) {
    KeepRows rows(name);
    run.runner->set_recorder(&rows);
    const auto all = some_tokens(70, run.model->vocabulary());
    for (int64_t at = 0; at < 70; at += 35) run.logits({all.begin() + at, all.begin() + at + 35}, {35});
    run.runner->set_recorder(nullptr);
    const MatrixStats& stats = *statistics.find(name);
    const Gram* gram = statistics.gram(stats, 0);
    ASSERT_NE(gram, nullptr) << name;
    EXPECT_EQ(gram->rows(), 70);
    ASSERT_EQ(gram->inputs(), stats.inputs);
    for (int64_t i = 0; i < gram->inputs(); ++i) {
      for (int64_t j = 0; j < gram->inputs(); ++j) {
        double sum = 0;
        double size = 0;
        for (const auto& row : rows.kept) {
          const double product = double{row[static_cast<size_t>(i)]} * double{row[static_cast<size_t>(j)]};
          sum += product;
          size += std::fabs(product);
        }
        ASSERT_NEAR(gram->at(i, j), sum, 1e-5 * size + 1e-12) << name << " " << i << " " << j;
      }
    }
    // The order of the sums is the kernels' own, so that of squares agrees to float32 only.
    EXPECT_NEAR(gram->at(3, 3), stats.squares[3], 1e-5 * stats.squares[3]);
  }
}

TEST(Gram, MatricesThatReadTheSameShareOne) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const Statistics statistics = grams_from(run, 64, 32);
  const auto of = [&](const char* name) { return statistics.find(name)->grams.at(0); };
  EXPECT_EQ(of("blk.0.attn_q.weight"), of("blk.0.attn_k.weight"));
  EXPECT_EQ(of("blk.0.attn_q.weight"), of("blk.0.attn_v.weight"));
  EXPECT_EQ(of("blk.0.ffn_gate.weight"), of("blk.0.ffn_up.weight"));
  EXPECT_NE(of("blk.0.attn_q.weight"), of("blk.0.attn_output.weight"));
  EXPECT_NE(of("blk.0.attn_q.weight"), of("blk.1.attn_q.weight"));
  EXPECT_EQ(statistics.grams.size(), 4 * run.model->layers().size());
}

TEST(Gram, ExpertsHaveTheirOwn) {
  ModelRun run = ModelRun::open(golden_folder() / "mixtral/model.gguf", {});
  const Statistics statistics = grams_from(run, 64, 32);
  for (const MatrixStats& stats : statistics.matrices) {
    for (int64_t i = 0; i < stats.matrices(); ++i) {
      const Gram* gram = statistics.gram(stats, i);
      const int64_t rows = stats.rows[static_cast<size_t>(i)];
      ASSERT_EQ(gram == nullptr, rows == 0) << stats.tensor;
      if (gram != nullptr) {
        EXPECT_EQ(gram->rows(), rows) << stats.tensor;
      }
    }
  }
}

TEST(Gram, NoBitDependsOnThreads) {
  for (const char* name : {"qwen3moe", "gpt2"}) {
    ModelRun one = ModelRun::open(golden_folder() / name / "model.gguf", {.threads = 1});
    ModelRun five = ModelRun::open(golden_folder() / name / "model.gguf", {.threads = 5});
    const Statistics a = grams_from(one, 96, 48);
    const Statistics b = grams_from(five, 96, 48);
    ASSERT_EQ(a.grams.size(), b.grams.size());
    for (size_t i = 0; i < a.grams.size(); ++i)
      EXPECT_TRUE(std::ranges::equal(a.grams[i].sums(), b.grams[i].sums())) << name << " " << i;
  }
}

TEST(Gram, WhatDoesNotFitIsRefusedWithBothSizes) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const auto refused = collect(*run.runner, *run.pool, some_tokens(64, run.model->vocabulary()),
                               {.window = 32, .collector = {.grams = true, .most_gram_bytes = 1000}}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, core::ErrorCode::kLimit);
  const std::string wanted = fmt::format("Gram matrices: {} of them take 1 MiB", 4 * run.model->layers().size());
  EXPECT_EQ(refused.error().text().substr(0, wanted.size()), wanted) << refused.error().text();
}

TEST(Gram, SavedLoadedAndMerged) {
  for (const char* name : {"gqa", "mixtral"}) {
    ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf", {});
    Statistics first = grams_from(run, 32, 32, 1);
    const Statistics second = grams_from(run, 32, 32, 2);
    const auto path = std::filesystem::temp_directory_path() / "lamina_gram_test.safetensors";
    ASSERT_TRUE(save(first, path));
    Statistics again = load(path).value();
    std::filesystem::remove(path);
    ASSERT_EQ(again.grams.size(), first.grams.size());
    for (size_t i = 0; i < first.grams.size(); ++i)
      EXPECT_TRUE(std::ranges::equal(again.grams[i].sums(), first.grams[i].sums()));
    ASSERT_TRUE(again.merge(second));
    for (const MatrixStats& stats : again.matrices) {
      for (int64_t m = 0; m < stats.matrices(); ++m) {
        const Gram* sum = again.gram(stats, m);
        const Gram* a = first.gram(*first.find(stats.tensor), m);
        const Gram* b = second.gram(*second.find(stats.tensor), m);
        ASSERT_EQ(sum == nullptr, a == nullptr && b == nullptr);
        if (sum == nullptr) continue;
        const double wanted = (a == nullptr ? 0 : a->at(2, 1)) + (b == nullptr ? 0 : b->at(2, 1));
        EXPECT_EQ(sum->at(2, 1), wanted) << stats.tensor;
        EXPECT_EQ(sum->rows(), (a == nullptr ? 0 : a->rows()) + (b == nullptr ? 0 : b->rows()));
      }
    }
    Statistics without = collect_from(run, 32, 32, 2);
    const auto refused = without.merge(first);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "one of two parts has Gram matrices; both or none expected");
  }
}

TEST(Statistics, SavedLoadedMergedAndTiedToTheirModel) {
  ModelRun run = ModelRun::open(golden_folder() / "mixtral/model.gguf", {});
  Statistics first = collect_from(run, 64, 32, 1);
  const Statistics second = collect_from(run, 32, 32, 2);
  const auto path = std::filesystem::temp_directory_path() / "lamina_statistics_test.safetensors";
  ASSERT_TRUE(save(first, path));
  const Statistics again = load(path).value();
  std::filesystem::remove(path);
  EXPECT_EQ(again.model, first.model);
  EXPECT_EQ(again.tokens, 64);
  ASSERT_EQ(again.matrices.size(), first.matrices.size());
  for (const MatrixStats& stats : first.matrices) {
    ASSERT_NE(again.find(stats.tensor), nullptr);
    EXPECT_EQ(again.find(stats.tensor)->squares, stats.squares);
    EXPECT_EQ(again.find(stats.tensor)->rows, stats.rows);
  }
  const double before = first.matrices[0].squares[0];
  ASSERT_TRUE(first.merge(second));
  EXPECT_EQ(first.tokens, 96);
  EXPECT_EQ(first.matrices[0].squares[0], before + second.matrices[0].squares[0]);
  const ModelRun other = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  EXPECT_TRUE(again.check_model(run.model->files(), "x"));
  EXPECT_FALSE(again.check_model(other.model->files(), "x"));
}

TEST(Statistics, AnImportanceMatrixSaysTheSame) {
  ModelRun run = ModelRun::open(golden_folder() / "mixtral/model.gguf", {});
  const Statistics first = collect_from(run, 64, 32, 1);
  const auto path = std::filesystem::temp_directory_path() / "lamina_statistics_test.gguf";
  ASSERT_TRUE(save(first, path));
  const Statistics again = load(path).value();
  std::filesystem::remove(path);
  EXPECT_EQ(again.tokens, 64);
  for (const MatrixStats& stats : first.matrices) {
    const MatrixStats* other = again.find(stats.tensor);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->rows, stats.rows);
    EXPECT_EQ(other->inputs, stats.inputs);
    const std::vector<float> expected = stats.importance(0);
    const std::vector<float> found = other->importance(0);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_FLOAT_EQ(found[i], expected[i]);
  }
  const ModelRun wider = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  EXPECT_TRUE(again.check_model(run.model->files(), "x"));
  EXPECT_FALSE(again.check_model(wider.model->files(), "x"));
}

}  // namespace
}  // namespace lamina::stats

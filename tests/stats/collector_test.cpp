#include "stats/collector.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "run/model_runs.h"

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

/// Keeps every row that a tensor's first matrix reads.
class KeepRows : public layers::InputRecorder {
 public:
  explicit KeepRows(std::string name) : name_(std::move(name)) {}
  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override {
    for (const layers::Linear* linear : readers) {
      if (linear->name() != name_) continue;
      for (int64_t r = 0; r < rows.count; ++r)
        kept.emplace_back(rows.data + r * rows.stride, rows.data + r * rows.stride + linear->inputs());
    }
  }
  std::vector<std::vector<float>> kept;

 private:
  std::string name_;
};

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

TEST(Collector, ATextShorterThanAWindowIsRefusedWithBothNumbers) {
  ModelRun run = ModelRun::open(golden_folder() / "gqa/model.gguf", {});
  const auto found = collect(*run.runner, *run.pool, some_tokens(10, 50), {.window = 32}, {});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().text(), "calibration text: 10 tokens; at least one window of 32 expected");
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

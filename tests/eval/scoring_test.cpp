#include "eval/scoring.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "eval/metrics.h"
#include "eval/tasks.h"
#include "models/vocabulary.h"
#include "run/engine.h"
#include "run/golden_files.h"
#include "run/model_runs.h"
#include "support/source_dir.h"

namespace lamina::eval {
namespace {

using run::ModelRun;

std::filesystem::path golden(const std::string& name) {
  return run::golden_folder() / "gqa" / name;
}

ModelRun open_golden(const std::string& recipe = "kv:f32") {
  return ModelRun::open(golden("model.gguf"), {.exact = true, .threads = 2, .sequences = 16, .recipe = recipe});
}

std::vector<int32_t> golden_tokens() {
  return run::read_npy<int32_t>(golden("tokens.npy"), "<i4");
}

/// Scores with one runner, or against a source.
Scores score_with(ModelRun& run, std::span<const ScoredSequence> sequences, StepShape shape,
                  LogitSource* reference = nullptr) {
  const auto model = logits_of_runner(*run.runner, sequences);
  auto scores = score(sequences, *model, reference, shape, *run.pool, {});
  EXPECT_TRUE(scores) << scores.error().text();
  return std::move(*scores);
}

std::vector<double> values(const Windows& windows) {
  return {windows.values().begin(), windows.values().end()};
}

TEST(CutWindows, TakesWholeWindowsUpToTheLimit) {
  std::vector<int32_t> tokens(23);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  const auto all = cut_windows(tokens, 5, 2, 0);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 4U);
  EXPECT_EQ(all->back().tokens, (std::vector<int32_t>{15, 16, 17, 18, 19}));
  EXPECT_EQ(all->back().targets(), 3);
  EXPECT_EQ(cut_windows(tokens, 5, 2, 3)->size(), 3U);
  EXPECT_EQ(cut_windows(tokens, 24, 2, 0).error().code, core::ErrorCode::kInvalid);
  EXPECT_FALSE(cut_windows(tokens, 5, 0, 0));
  EXPECT_FALSE(cut_windows(tokens, 5, 5, 0));
}

// The file is the reference library's float32 logits of the same tokens.
TEST(Score, AgreesWithTheReferenceLogits) {
  const auto tokens = golden_tokens();
  const std::vector<ScoredSequence> sequences{
      {.tokens = tokens, .first_target = static_cast<int64_t>(tokens.size()) / 2}};
  const auto file = format::NpyFile::open(golden("logits.npy")).value();
  ASSERT_EQ(file.rows(), static_cast<int64_t>(tokens.size()));
  const auto reference = logits_of_file(file, sequences).value();
  ModelRun run = open_golden();
  const Scores scores = score_with(run, sequences, {.rows = 7, .sequences = 2}, reference.get());
  ASSERT_EQ(scores.nll.size(), static_cast<size_t>(sequences[0].targets()));
  for (size_t i = 0; i < scores.nll.size(); ++i) {
    const size_t target = static_cast<size_t>(sequences[0].first_target) + i;
    const double wanted = negative_log_likelihood(file.row(static_cast<int64_t>(target) - 1), tokens[target]).value();
    EXPECT_EQ(scores.reference_nll.values()[i], wanted);
    EXPECT_NEAR(scores.nll.values()[i], wanted, 1e-4);
    EXPECT_LT(scores.kl.values()[i], 1e-8);
    EXPECT_EQ(scores.agreement.values()[i], 1);
  }
}

TEST(Score, AFileMayHoldTheScoredRowsAlone) {
  const auto tokens = golden_tokens();
  const auto sequences = cut_windows(tokens, 16, 8, 0).value();
  ModelRun run = open_golden();
  const auto runner = logits_of_runner(*run.runner, sequences);
  std::vector<float> rows;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<Slice> slices{{i, 0, sequences[i].inputs()}};
    const auto logits = runner->step(slices).value();
    rows.insert(rows.end(), logits.begin(), logits.end());
  }
  const auto path = std::filesystem::temp_directory_path() / fmt::format("lamina_scored_rows_{}.npy", getpid());
  const int64_t vocabulary = run.model->vocabulary();
  const std::array<int64_t, 2> shape{static_cast<int64_t>(rows.size()) / vocabulary, vocabulary};
  ASSERT_TRUE(format::write_npy(path, shape, rows));
  const auto file = format::NpyFile::open(path).value();
  std::filesystem::remove(path);
  const auto reference = logits_of_file(file, sequences).value();
  const Scores scores = score_with(run, sequences, {.rows = 20, .sequences = 4}, reference.get());
  EXPECT_EQ(values(scores.kl), std::vector<double>(scores.kl.size(), 0));
  EXPECT_EQ(values(scores.reference_nll), values(scores.nll));
  const auto other = cut_windows(tokens, 16, 12, 0).value();
  const auto refused = logits_of_file(file, other);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, core::ErrorCode::kInvalid);
}

TEST(Score, StepsChangeNoBit) {
  std::vector<ScoredSequence> sequences = cut_windows(golden_tokens(), 12, 6, 0).value();
  sequences.push_back({.tokens = {1, 2}, .first_target = 1});
  sequences.push_back({.tokens = {5, 3, 9, 4}, .first_target = 3});
  ModelRun run = open_golden();
  const Scores wanted = score_with(run, sequences, {.rows = 64, .sequences = 16});
  EXPECT_EQ(wanted.nll.windows(), sequences.size());
  for (const StepShape shape : {StepShape{1, 1}, {3, 2}, {7, 3}, {64, 1}, {64, 2}, {13, 16}}) {
    const Scores found = score_with(run, sequences, shape);
    EXPECT_EQ(values(found.nll), values(wanted.nll)) << shape.rows;
    EXPECT_EQ(values(found.hits), values(wanted.hits)) << shape.rows;
  }
}

TEST(Score, TwoRunnersOfOneModelCompareRecipes) {
  const auto sequences = cut_windows(golden_tokens(), 16, 8, 0).value();
  ModelRun run = open_golden("kv:f32 L0.attn:drop");
  ModelRun whole = open_golden();
  const auto reference = logits_of_runner(*whole.runner, sequences);
  const Scores dropped = score_with(run, sequences, {.rows = 32, .sequences = 4}, reference.get());
  EXPECT_GT(mean(dropped.kl)->value, 1e-6);
  const Scores same = score_with(whole, sequences, {.rows = 32, .sequences = 4}, reference.get());
  EXPECT_EQ(mean(same.kl)->value, 0);
}

TEST(Score, RefusesAnotherVocabularyAndStopsWhenTold) {
  const auto sequences = cut_windows(golden_tokens(), 16, 8, 0).value();
  ModelRun run = open_golden();
  const auto model = logits_of_runner(*run.runner, sequences);
  const auto path = std::filesystem::temp_directory_path() / fmt::format("lamina_other_vocabulary_{}.npy", getpid());
  const std::array<int64_t, 2> shape{static_cast<int64_t>(sequences.size()) * 8, 3};
  ASSERT_TRUE(format::write_npy(path, shape, std::vector<float>(sequences.size() * 24)));
  const auto file = format::NpyFile::open(path).value();
  std::filesystem::remove(path);
  const auto other = logits_of_file(file, sequences).value();
  const auto refused = score(sequences, *model, other.get(), {.rows = 16, .sequences = 2}, *run.pool, {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(" 3, "), std::string::npos) << refused.error().text();
  const auto stopped = score(sequences, *model, nullptr, {.rows = 16, .sequences = 2}, *run.pool,
                             [](int64_t, int64_t) { return false; });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, core::ErrorCode::kCancelled);
}

TEST(Tasks, OnePassDecidesAsGreedyDecodingDoes) {
  ModelRun run = open_golden();
  const std::vector<int32_t> prompt{3, 1, 4, 1, 5};
  run::Engine engine(*run.runner, nullptr);
  run::GenerationRequest request{
      .prompt = prompt, .sampling = {}, .max_tokens = 8, .stops = {}, .ignore_end = true, .sink = {}};
  request.sampling.temperature = 0;
  ASSERT_TRUE(engine.submit(std::move(request)));
  ASSERT_TRUE(engine.finish());
  ScoredSequence right{.tokens = prompt, .first_target = static_cast<int64_t>(prompt.size())};
  right.tokens.insert(right.tokens.end(), engine.result(0).tokens.begin(), engine.result(0).tokens.end());
  std::vector<ScoredSequence> sequences{right};
  for (size_t i = prompt.size(); i < right.tokens.size(); ++i) {
    sequences.push_back(right);
    sequences.back().tokens[i] ^= 1;
  }
  const Windows matches = exact_matches(score_with(run, sequences, {.rows = 30, .sequences = 5}).hits);
  EXPECT_EQ(values(matches), (std::vector<double>{1, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Tasks, ReadsLinesAndNamesTheWrongOne) {
  const auto items = parse_tasks(
      "{\"prompt\": \"a\", \"answer\": \"b\", \"id\": 3}\n\n  {\"answer\": \"d\", \"prompt\": \"c\"}", "t", 0);
  ASSERT_TRUE(items);
  ASSERT_EQ(items->size(), 2U);
  EXPECT_EQ((*items)[1].prompt, "c");
  EXPECT_EQ(parse_tasks("{\"prompt\": \"a\", \"answer\": \"b\"}\nnonsense", "t", 1)->size(), 1U);
  for (const std::string bad : {"nonsense", "[1]", "{\"prompt\": \"a\"}", "{\"prompt\": \"a\", \"answer\": 3}"}) {
    const auto refused = parse_tasks("{\"prompt\": \"a\", \"answer\": \"b\"}\n" + bad, "t.jsonl", 0);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, core::ErrorCode::kCorrupt);
    EXPECT_NE(refused.error().place.find("t.jsonl, line 2"), std::string::npos) << refused.error().text();
  }
  EXPECT_FALSE(parse_tasks("\n \n", "t", 0));
}

/// The reference library's continuations as tasks: each is right as it stands.
TEST(RealTasks, TheReferencesAnswersAreRight) {
  const auto path = run::stored_gguf("smollm2-135m");
  if (!path) GTEST_SKIP() << "smollm2-135m is not in the store; ./dev model smollm2-135m fetches it";
  ModelRun run = ModelRun::open(*path, {.exact = true, .context = 192, .sequences = 8, .max_rows = 256});
  const auto tokenizer = models::load_tokenizer(*path).value();
  std::vector<ScoredSequence> sequences;
  const nlohmann::json golden = run::read_json(source_dir() / "tests/golden/smollm2/greedy.json");
  for (const auto& one : golden.at("cases")) {
    auto tokens = one.at("tokens").get<std::vector<int32_t>>();
    tokens.resize(8);
    const TaskItem item{.prompt = one.at("prompt"), .answer = tokenizer.decode(tokens, false)};
    const ScoredSequence sequence = task_sequence(item, "", tokenizer).value();
    // Text need not become the same tokens again as it was made of.
    if (std::vector<int32_t>(sequence.tokens.begin() + sequence.first_target, sequence.tokens.end()) != tokens)
      continue;
    EXPECT_EQ(std::vector<int32_t>(sequence.tokens.begin(), sequence.tokens.begin() + sequence.first_target),
              one.at("prompt_tokens").get<std::vector<int32_t>>());
    sequences.push_back(sequence);
  }
  EXPECT_GT(sequences.size(), 10U);
  const Windows matches = exact_matches(score_with(run, sequences, {.rows = 256, .sequences = 8}).hits);
  EXPECT_EQ(mean(matches)->value, 1);
}

/// nll_mean of the golden file is the reference library's own.
TEST(RealScore, APassageHasTheReferencesLoss) {
  const auto path = run::stored_gguf("smollm2-135m");
  if (!path) GTEST_SKIP() << "smollm2-135m is not in the store; ./dev model smollm2-135m fetches it";
  const std::filesystem::path folder = source_dir() / "tests/golden/smollm2";
  ModelRun run = ModelRun::open(*path, {.exact = true, .sequences = 2});
  const auto tokens = run::read_npy<int32_t>(folder / "austen_tokens.npy", "<i4");
  const auto sequences = cut_windows(tokens, static_cast<int64_t>(tokens.size()), 1, 0).value();
  const double wanted = run::read_json(folder / "austen_passage.json").at("nll_mean").get<double>();
  EXPECT_NEAR(mean(score_with(run, sequences, {.rows = 64, .sequences = 2}).nll)->value, wanted, 1e-4 * wanted);
}

}  // namespace
}  // namespace lamina::eval

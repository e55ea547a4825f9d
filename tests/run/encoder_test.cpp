// Tiny random encoders against the float32 streams and logits that the reference library gave
// (tools/make_encoder_golden.py), and what steps of several texts must not change.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "run/golden_files.h"
#include "run/model_runs.h"
#include "support/source_dir.h"

namespace lamina::run {
namespace {

constexpr double kRelative = 1e-4;

std::filesystem::path encoder_folder() {
  return source_dir() / "tests/golden/encoders";
}

struct Text {
  std::vector<int32_t> tokens;
  std::vector<int32_t> types;
};

/// The cases that have this file.
std::vector<std::string> cases_with(const std::string& file) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(encoder_folder())) {
    if (std::filesystem::exists(entry.path() / file)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Outcome {
  std::vector<std::vector<float>> streams;  ///< by border, rows of all texts
  std::vector<float> logits;
};

/// Runs the texts, `together` in a step.
Outcome run_texts(const std::filesystem::path& path, const std::vector<Text>& texts, size_t together, int threads = 2) {
  ModelRun run = ModelRun::open(
      path, {.exact = true, .threads = threads, .context = 24, .sequences = 8, .max_rows = 64, .recipe = ""});
  const layers::Head& head = run.model->head();
  std::vector<cache::SequenceId> sequences;
  for (size_t i = 0; i < together; ++i) sequences.push_back(run.runner->open().value());
  KeepStreams streams;
  run.runner->set_hook(&streams);
  Outcome outcome;
  for (size_t at = 0; at < texts.size(); at += together) {
    std::vector<BatchRow> rows;
    size_t wanted = 0;
    for (size_t i = at; i < std::min(at + together, texts.size()); ++i) {
      for (size_t j = 0; j < texts[i].tokens.size(); ++j) {
        const bool wants = head.outputs() > 0 && (!head.labels() || j == 0);
        wanted += wants ? 1 : 0;
        rows.push_back({.token = texts[i].tokens[j],
                        .sequence = sequences[i - at],
                        .wants_logits = wants,
                        .type = texts[i].types[j]});
      }
    }
    std::vector<float> logits(wanted * static_cast<size_t>(head.outputs()));
    const auto status = run.runner->step(rows, logits);
    if (!status) throw std::runtime_error(status.error().text());
    outcome.logits.insert(outcome.logits.end(), logits.begin(), logits.end());
  }
  outcome.streams = std::move(streams.streams);
  return outcome;
}

std::vector<Text> read_texts(const std::string& name) {
  std::ifstream file(encoder_folder() / name / "texts.json");
  std::vector<Text> texts;
  for (const auto& text : nlohmann::json::parse(file)) texts.push_back({text["tokens"], text["types"]});
  return texts;
}

void compare(const std::string& name, const std::filesystem::path& path) {
  const auto wanted = read_numbers(encoder_folder() / name / "hidden.npy");
  const bool has_logits = std::filesystem::exists(encoder_folder() / name / "logits.npy");
  double worst_hidden = 0;
  double worst_logits = 0;
  for (const size_t together : {1U, 5U}) {
    const Outcome found = run_texts(path, read_texts(name), together);
    const size_t size = wanted.size() / found.streams.size();
    for (size_t i = 0; i < found.streams.size(); ++i) {
      const double error = relative_error(found.streams[i], std::span(wanted).subspan(i * size, size));
      worst_hidden = std::max(worst_hidden, error);
      EXPECT_LT(error, kRelative) << "stream " << i;
    }
    if (!has_logits) continue;
    const double error = relative_error(found.logits, read_numbers(encoder_folder() / name / "logits.npy"));
    worst_logits = std::max(worst_logits, error);
    EXPECT_LT(error, kRelative);
  }
  record_figure("hidden", worst_hidden);
  if (has_logits) record_figure("logits", worst_logits);
}

class EncoderGolden : public testing::TestWithParam<std::string> {};
TEST_P(EncoderGolden, FolderMatchesTheReference) {
  compare(GetParam(), encoder_folder() / GetParam());
}
INSTANTIATE_TEST_SUITE_P(Models, EncoderGolden, testing::ValuesIn(cases_with("model.safetensors")),
                         [](const auto& info) { return info.param; });

class EncoderGoldenGguf : public testing::TestWithParam<std::string> {};
TEST_P(EncoderGoldenGguf, MatchesTheReference) {
  compare(GetParam(), encoder_folder() / GetParam() / "model.gguf");
}
INSTANTIATE_TEST_SUITE_P(Models, EncoderGoldenGguf, testing::ValuesIn(cases_with("model.gguf")),
                         [](const auto& info) { return info.param; });

/// The rows of one text in a border of several texts.
std::vector<float> rows_of(const std::vector<float>& border, const std::vector<Text>& texts, size_t text) {
  size_t rows = 0;
  size_t first = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i == text) first = rows;
    rows += texts[i].tokens.size();
  }
  const size_t hidden = border.size() / rows;
  const auto begin = border.begin() + static_cast<std::ptrdiff_t>(first * hidden);
  return {begin, begin + static_cast<std::ptrdiff_t>(texts[text].tokens.size() * hidden)};
}

TEST(Encoder, ATextsBitsDoNotDependOnItsBatchOrTheThreads) {
  const auto path = encoder_folder() / "bert";
  const std::vector<Text> texts = read_texts("bert");
  const Outcome alone = run_texts(path, texts, 1, 1);
  std::vector<Text> reversed(texts.rbegin(), texts.rend());
  for (const int threads : {1, 2, 5}) {
    for (const size_t together : {2U, 3U, 5U}) {
      const Outcome batched = run_texts(path, reversed, together, threads);
      for (size_t text = 0; text < texts.size(); ++text) {
        const auto wanted = rows_of(alone.streams.back(), texts, text);
        const auto found = rows_of(batched.streams.back(), reversed, texts.size() - 1 - text);
        ASSERT_EQ(wanted.size(), found.size());
        EXPECT_EQ(std::memcmp(wanted.data(), found.data(), wanted.size() * sizeof(float)), 0)
            << "text " << text << ", " << threads << " threads";
      }
    }
  }
}

TEST(Encoder, KeepsNothingOfAText) {
  ModelRun run = ModelRun::open(encoder_folder() / "bert", {.context = 24, .recipe = ""});
  const auto sequence = run.runner->open().value();
  const std::vector<BatchRow> rows{{.token = 3, .sequence = sequence}, {.token = 4, .sequence = sequence}};
  ASSERT_TRUE(run.runner->step(rows, {}));
  EXPECT_EQ(run.runner->length(sequence), 0);
}

TEST(Encoder, RefusesWhatItCannotDo) {
  ModelRun run = ModelRun::open(encoder_folder() / "bert", {.context = 24, .recipe = ""});
  const auto sequence = run.runner->open().value();
  const auto message = [&](std::vector<BatchRow> rows) { return run.runner->step(rows, {}).error().message; };
  EXPECT_EQ(message({{.token = 3, .sequence = sequence, .wants_logits = true}}),
            "the model has no head that makes logits");
  EXPECT_EQ(message({{.token = 3, .sequence = sequence, .type = 2}}), "token type 2; the model has 2");
  EXPECT_EQ(message(std::vector<BatchRow>(25, {.token = 3, .sequence = sequence})),
            "25 tokens do not fit into the context of 24");
  const auto recipe = recipe::parse("kv:f16").value();
  EXPECT_FALSE(recipe::plan(recipe, {.layers = 2, .key_value_cache = false}));
  const auto beyond = Runner::create(*run.model, *run.pool, {.plan = run.runner->options().plan, .context = 25});
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().message, "25 positions; the model has learned 24");
}

}  // namespace
}  // namespace lamina::run

// Tiny random encoder-decoders against the float32 streams, logits and greedy tokens of the reference library
// (tools/make_encdec_golden.py), and what steps, batches, threads, copies and recipes must not or must change.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "run/encoder_decoder_runs.h"
#include "run/engine.h"
#include "run/golden_files.h"
#include "support/source_dir.h"

namespace lamina::run {
namespace {

constexpr double kRelative = 1e-4;

std::filesystem::path encdec_folder() {
  return source_dir() / "tests/golden/encdec";
}

/// What the encoder reads (tokens or frames), what the decoder reads, and what greedy choice goes on with after the
/// start token.
struct Pair {
  std::vector<int32_t> source;
  std::vector<float> frames;
  std::vector<int32_t> target;
  std::vector<int32_t> greedy;
};

std::vector<Pair> read_pairs(const std::string& name) {
  std::ifstream file(encdec_folder() / name / "texts.json");
  std::vector<Pair> pairs;
  for (const auto& one : nlohmann::json::parse(file)) {
    pairs.push_back({.source = one.value("input_ids", std::vector<int32_t>()),
                     .frames = {},
                     .target = one["decoder_input_ids"],
                     .greedy = one["greedy"]});
  }
  if (!std::filesystem::exists(encdec_folder() / name / "frames.npy")) return pairs;
  const auto frames = format::NpyFile::open(encdec_folder() / name / "frames.npy").value();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto row = frames.row(static_cast<int64_t>(i));
    pairs[i].frames.assign(row.begin(), row.end());
  }
  return pairs;
}

/// The cases that have this file.
std::vector<std::string> cases_with(const std::string& file) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(encdec_folder())) {
    if (std::filesystem::exists(entry.path() / file)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The largest error of a stream.
double compare_streams(const KeepStreams& found, const std::filesystem::path& path) {
  const std::vector<float> wanted = read_numbers(path);
  const size_t size = wanted.size() / found.streams.size();
  double worst = 0;
  for (size_t i = 0; i < found.streams.size(); ++i) {
    const double error = relative_error(found.streams[i], std::span(wanted).subspan(i * size, size));
    EXPECT_LT(error, kRelative) << path << ", stream " << i;
    worst = std::max(worst, error);
  }
  return worst;
}

/// A new sequence whose encoder has read the pair's source.
cache::SequenceId encode(Runner& runner, const Pair& pair) {
  const cache::SequenceId sequence = runner.open().value();
  std::vector<BatchRow> rows;
  for (const int32_t token : pair.source) rows.push_back({.token = token, .sequence = sequence});
  const auto status = pair.frames.empty() ? runner.encode(rows) : runner.encode_frames(sequence, pair.frames);
  if (!status) throw std::runtime_error(status.error().text());
  return sequence;
}

void compare(const std::string& name, const std::filesystem::path& path) {
  double worst = 0;
  double worst_hidden = 0;
  for (const size_t piece : {64U, 1U, 7U}) {
    ModelRun run = ModelRun::open(path, {.exact = true, .context = 40});
    KeepStreams streams;
    KeepStreams encoder;
    run.runner->set_hook(&streams);
    run.runner->encoder()->set_hook(&encoder);
    std::vector<float> logits;
    for (const Pair& pair : read_pairs(name)) {
      const cache::SequenceId sequence = encode(*run.runner, pair);
      if (pair.frames.empty()) {
        EXPECT_EQ(run.runner->encoded_length(sequence), std::ssize(pair.source));
      }
      const auto found = feed(*run.runner, sequence, pair.target, piece);
      logits.insert(logits.end(), found.begin(), found.end());
      run.runner->close(sequence);
    }
    const double error = relative_error(logits, read_numbers(encdec_folder() / name / "logits.npy"));
    worst = std::max(worst, error);
    EXPECT_LT(error, kRelative) << "pieces of " << piece;
    worst_hidden = std::max({worst_hidden, compare_streams(streams, encdec_folder() / name / "hidden.npy"),
                             compare_streams(encoder, encdec_folder() / name / "encoder_hidden.npy")});
  }
  record_figure("logits", worst);
  record_figure("hidden", worst_hidden);
}

class EncoderDecoder : public testing::TestWithParam<std::string> {};
TEST_P(EncoderDecoder, FolderMatchesTheReference) {
  compare(GetParam(), encdec_folder() / GetParam());
}
TEST_P(EncoderDecoder, GeneratesTheReferencesTokens) {
  ModelRun run = ModelRun::open(encdec_folder() / GetParam(),
                                {.exact = true, .context = 40, .sequences = 3, .max_rows = 64, .recipe = "kv:f32"});
  Engine engine(*run.runner, nullptr);
  std::vector<size_t> requests;
  const std::vector<Pair> pairs = read_pairs(GetParam());
  for (const Pair& pair : pairs) {
    const bool frames = !pair.frames.empty();
    requests.push_back(engine
                           .submit({.prompt = {run.model->start_token()},
                                    .source = pair.source,
                                    .sampling = {.temperature = 0},
                                    .max_tokens = std::ssize(pair.greedy),
                                    .stops = {},
                                    .ignore_end = true,
                                    .sink = {}},
                                   frames ? encode(*run.runner, pair) : cache::SequenceId{})
                           .value());
  }
  ASSERT_TRUE(engine.finish());
  for (size_t i = 0; i < pairs.size(); ++i) EXPECT_EQ(engine.result(requests[i]).tokens, pairs[i].greedy) << i;
}
INSTANTIATE_TEST_SUITE_P(Models, EncoderDecoder, testing::ValuesIn(cases_with("model.safetensors")),
                         [](const auto& info) { return info.param; });

class EncoderDecoderGguf : public testing::TestWithParam<std::string> {};
TEST_P(EncoderDecoderGguf, MatchesTheReference) {
  compare(GetParam(), encdec_folder() / GetParam() / "model.gguf");
}
INSTANTIATE_TEST_SUITE_P(Models, EncoderDecoderGguf, testing::ValuesIn(cases_with("model.gguf")),
                         [](const auto& info) { return info.param; });

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class EncoderDecoderBits : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  static std::string name() { return std::get<0>(GetParam()); }
  static std::vector<Pair> pairs() { return read_pairs(name()); }
  ModelRun open(int threads, int32_t sequences, int64_t max_rows) const {
    return ModelRun::open(encdec_folder() / name(), {.threads = threads,
                                                     .context = 40,
                                                     .sequences = sequences,
                                                     .max_rows = max_rows,
                                                     .recipe = std::get<1>(GetParam())});
  }
  /// Logits of each pair, alone, on one thread, whole.
  std::vector<std::vector<float>> expected() const {
    std::vector<std::vector<float>> logits;
    ModelRun run = open(1, 1, 64);
    for (const Pair& pair : pairs()) {
      const cache::SequenceId sequence = encode(*run.runner, pair);
      logits.push_back(feed(*run.runner, sequence, pair.target, 64));
      run.runner->close(sequence);
    }
    return logits;
  }
};

TEST_P(EncoderDecoderBits, ThreadsChunksAndTheRoomOfAStepChangeNothing) {
  const auto wanted = expected();
  for (const int threads : {1, 2, 5}) {
    for (const int64_t max_rows : {64, 7}) {
      ModelRun run = open(threads, 1, max_rows);
      for (size_t i = 0; i < wanted.size(); ++i) {
        const cache::SequenceId sequence = encode(*run.runner, pairs()[i]);
        const auto found = feed(*run.runner, sequence, pairs()[i].target, static_cast<size_t>(max_rows) - 2);
        EXPECT_TRUE(same_bits(found, wanted[i])) << "pair " << i << ", " << threads << " threads";
        run.runner->close(sequence);
      }
    }
  }
}

TEST_P(EncoderDecoderBits, TheBatchChangesNothing) {
  const auto wanted = expected();
  const std::vector<Pair> all = pairs();
  ModelRun run = open(2, 3, 64);
  std::vector<cache::SequenceId> sequences(all.size());
  std::vector<BatchRow> rows;
  for (size_t i = all.size(); i-- > 0;) {  // the other way round than alone
    if (!all[i].frames.empty()) {
      sequences[i] = encode(*run.runner, all[i]);
      continue;
    }
    sequences[i] = run.runner->open().value();
    for (const int32_t token : all[i].source) rows.push_back({.token = token, .sequence = sequences[i]});
  }
  if (!rows.empty()) {
    ASSERT_TRUE(run.runner->encode(rows));
  }
  rows.clear();
  for (size_t i = 0; i < all.size(); ++i) {
    for (const int32_t token : all[i].target)
      rows.push_back({.token = token, .sequence = sequences[i], .wants_logits = true});
  }
  std::vector<float> logits(rows.size() * static_cast<size_t>(run.model->vocabulary()));
  ASSERT_TRUE(run.runner->step(rows, logits));
  size_t at = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_TRUE(same_bits(std::span(logits).subspan(at, wanted[i].size()), wanted[i])) << "pair " << i;
    at += wanted[i].size();
  }
}

TEST_P(EncoderDecoderBits, ForgettingAndCopyingChangeNothing) {
  const auto wanted = expected();
  const Pair pair = pairs()[0];
  ModelRun run = open(2, 2, 64);
  const auto vocabulary = static_cast<size_t>(run.model->vocabulary());
  const cache::SequenceId sequence = encode(*run.runner, pair);
  feed(*run.runner, sequence, pair.target, 64);
  const cache::SequenceId copy = run.runner->fork(sequence, 11).value();
  EXPECT_EQ(run.runner->encoded_length(copy), run.runner->encoded_length(sequence));
  EXPECT_EQ(run.runner->truncate(sequence, 3), 3);
  const auto rest = std::span(pair.target);
  EXPECT_TRUE(same_bits(feed(*run.runner, sequence, rest.subspan(3), 5), std::span(wanted[0]).subspan(3 * vocabulary)));
  run.runner->close(sequence);
  EXPECT_TRUE(same_bits(feed(*run.runner, copy, rest.subspan(11), 64), std::span(wanted[0]).subspan(11 * vocabulary)));
}
INSTANTIATE_TEST_SUITE_P(Recipes, EncoderDecoderBits,
                         testing::Combine(testing::Values("t5_gated", "whisper_wide"),
                                          testing::Values("kv:f32", "", "route:0,1,1 L0.cross:drop", "L1.mlp:drop")),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::to_string(info.index); });

TEST(EncoderDecoderRecipes, DroppingCrossAttentionMakesTheSourceCountForNothing) {
  const Pair pair = read_pairs("t5")[0];
  const auto logits_after = [&](const std::string& recipe, const Pair& source) {
    ModelRun run = ModelRun::open(encdec_folder() / "t5", {.context = 40, .recipe = recipe});
    return feed(*run.runner, encode(*run.runner, source), pair.target, 64);
  };
  const Pair other{.source = {5, 6, 7}, .frames = {}, .target = {}, .greedy = {}};
  EXPECT_FALSE(same_bits(logits_after("", pair), logits_after("", other)));
  EXPECT_TRUE(same_bits(logits_after("L*.cross:drop", pair), logits_after("L*.cross:drop", other)));
}

TEST(EncoderDecoderErrors, SayWhatIsMissing) {
  ModelRun run = ModelRun::open(encdec_folder() / "t5", {.context = 40});
  Runner& runner = *run.runner;
  const cache::SequenceId sequence = runner.open().value();
  const std::vector<BatchRow> row{{.token = 3, .sequence = sequence}};
  EXPECT_EQ(runner.step(row, {}).error().message, "the sequence has no encoded text; the encoder must read one first");
  EXPECT_EQ(runner.encode(std::vector<BatchRow>(65, row[0])).error().message, "65 rows; 1 to 64 expected");
  EXPECT_EQ(runner.encode(std::vector<BatchRow>{{.token = 80, .sequence = sequence}}).error().message,
            "token 80 is outside the vocabulary of 80");
  EXPECT_EQ(runner.encoded_length(sequence), 0);
  ASSERT_TRUE(runner.encode(row));
  ASSERT_TRUE(runner.step(row, {}));
  EXPECT_EQ(runner.encode(row).error().message, "the sequence has 1 tokens; one without any expected");
  runner.close(sequence);
  EXPECT_EQ(runner.encoded_length(runner.open().value()), 0);
  Engine engine(runner, nullptr);
  EXPECT_EQ(engine.submit({.prompt = {0}, .sampling = {}, .stops = {}, .sink = {}}).error().message,
            "it is empty; the encoder needs at least one token to read");
  EXPECT_EQ(
      engine.submit({.prompt = {0}, .source = std::vector<int32_t>(65, 1), .sampling = {}, .stops = {}, .sink = {}})
          .error()
          .message,
      "65 tokens do not fit into the encoder's context of 64; shorten it");
  ModelRun whisper = ModelRun::open(encdec_folder() / "whisper", {.context = 40});
  const cache::SequenceId heard = whisper.runner->open().value();
  const auto frames_error = [&](size_t numbers) {
    return whisper.runner->encode_frames(heard, std::vector<float>(numbers)).error().message;
  };
  EXPECT_EQ(frames_error(9), "9 numbers; at least one frame of 10 expected");
  EXPECT_EQ(frames_error(680), "34 tokens do not fit into the context of 33");
  EXPECT_EQ(whisper.runner->encode(std::vector<BatchRow>{{.token = 1, .sequence = heard}}).error().message,
            "the encoder reads frames of 10 numbers; no tokens expected");
  EXPECT_EQ(runner.encode_frames(sequence, {}).error().message, "the model has no encoder that reads frames");
  ModelRun decoder = ModelRun::open(golden_folder() / "gqa" / "model.gguf", {});
  EXPECT_EQ(decoder.runner->encode(row).error().message, "the model has no encoder beside its layers");
  Engine plain(*decoder.runner, nullptr);
  EXPECT_EQ(plain.submit({.prompt = {0}, .source = {1}, .sampling = {}, .stops = {}, .sink = {}}).error().message,
            "the model has no encoder to read it; a prompt alone expected");
}

}  // namespace
}  // namespace lamina::run

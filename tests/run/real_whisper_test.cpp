// Whisper base on a synthetic sound against what the reference library computes in float32 from the same folder
// (tools/make_whisper_golden.py).
#include <gtest/gtest.h>

#include "run/encoder_decoder_runs.h"
#include "run/engine.h"
#include "run/golden_files.h"
#include "support/source_dir.h"

namespace lamina::run {
namespace {

const std::filesystem::path kTruth = source_dir() / "tests/golden/real/whisper-base";
constexpr double kRelative = 1e-4;
constexpr size_t kPrompt = 4;        // tokens that say start, language, task and no time stamps
constexpr size_t kLogits = 256;      // of each row in the truth
constexpr int64_t kEncoderRow = 50;  // every so many of the encoder's rows is in the truth
constexpr size_t kHiddenRow = 4;     // and of the decoder's

/// The first of every `count` rows.
std::vector<float> every(std::span<const float> stream, size_t width, size_t count) {
  std::vector<float> rows;
  for (size_t at = 0; at < stream.size(); at += count * width)
    rows.insert(rows.end(), stream.begin() + static_cast<std::ptrdiff_t>(at),
                stream.begin() + static_cast<std::ptrdiff_t>(at + width));
  return rows;
}

class RealWhisper : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = stored_model("whisper-base");
    if (!std::filesystem::exists(folder_ / "model.safetensors"))
      GTEST_SKIP() << "needs the model whisper-base of the store";
    tokens_ = read_json(kTruth / "truth.json").at("tokens").get<std::vector<int32_t>>();
  }
  static std::vector<float> truth(const std::string& name) { return read_numbers(kTruth / name); }
  /// The sound's mel spectrogram, which the truth holds in steps of 1/64.
  static std::vector<float> mel() {
    std::vector<float> frames;
    for (const int8_t step : read_npy<int8_t>(kTruth / "mel.npy", "|i1"))
      frames.push_back(static_cast<float>(step) / 64.0F);
    return frames;
  }
  ModelRun open(bool exact, const std::string& recipe) const {
    return ModelRun::open(folder_, {.exact = exact, .context = 64, .max_rows = 64, .recipe = recipe});
  }

  std::filesystem::path folder_;
  std::vector<int32_t> tokens_;
};

TEST_F(RealWhisper, StreamsAndLogitsAreTheReferences) {
  ModelRun run = open(true, "kv:f32");
  KeepStreams encoder;
  KeepStreams decoder;
  run.runner->encoder()->set_hook(&encoder);
  run.runner->set_hook(&decoder);
  const cache::SequenceId sequence = run.runner->open().value();
  ASSERT_TRUE(run.runner->encode_frames(sequence, mel()));
  const std::vector<float> logits = feed(*run.runner, sequence, tokens_, 64);

  std::vector<float> encoded;
  const auto hidden = run.model->hidden();
  for (int64_t row = 0; row < run.runner->encoded_length(sequence); row += kEncoderRow) {
    const auto begin = encoder.streams.back().begin() + row * hidden;
    encoded.insert(encoded.end(), begin, begin + hidden);
  }
  run.model->encoder()->head().finish(encoded.data(), std::ssize(encoded) / hidden);
  const double encoder_error = relative_error(encoded, truth("encoder.npy"));
  record_figure("encoder", encoder_error);
  EXPECT_LT(encoder_error, kRelative);

  const std::vector<float> streams = truth("hidden.npy");
  const size_t size = streams.size() / decoder.streams.size();
  double worst = 0;
  for (size_t i = 0; i < decoder.streams.size(); ++i) {
    const std::vector<float> rows = every(decoder.streams[i], static_cast<size_t>(hidden), kHiddenRow);
    const double error = relative_error(rows, std::span(streams).subspan(i * size, size));
    worst = std::max(worst, error);
    EXPECT_LT(error, kRelative) << "stream " << i;
  }
  record_figure("hidden", worst);
  const auto vocabulary = static_cast<size_t>(run.model->vocabulary());
  std::vector<float> first;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const auto row = std::span(logits).subspan(i * vocabulary, kLogits);
    first.insert(first.end(), row.begin(), row.end());
  }
  const double logits_error = relative_error(first, truth("logits.npy"));
  record_figure("logits", logits_error);
  EXPECT_LT(logits_error, kRelative);
}

TEST_F(RealWhisper, GreedyTokensAreTheReferences) {
  for (const bool exact : {true, false}) {
    ModelRun run = open(exact, "");
    const cache::SequenceId sequence = run.runner->open().value();
    ASSERT_TRUE(run.runner->encode_frames(sequence, mel()));
    Engine engine(*run.runner, nullptr);
    const std::vector<int32_t> prompt(tokens_.begin(), tokens_.begin() + kPrompt);
    const std::vector<int32_t> wanted(tokens_.begin() + kPrompt, tokens_.end());
    const size_t request = engine
                               .submit({.prompt = prompt,
                                        .sampling = {.temperature = 0},
                                        .max_tokens = std::ssize(wanted),
                                        .stops = {},
                                        .ignore_end = true,
                                        .sink = {}},
                                       sequence)
                               .value();
    ASSERT_TRUE(engine.finish());
    EXPECT_EQ(engine.result(request).tokens, wanted);
  }
}

}  // namespace
}  // namespace lamina::run

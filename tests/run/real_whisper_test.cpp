// Whisper base on a synthetic sound against what the reference library computes in float32 from the same folder
// (tools/convert_whisper.py).
#include <gtest/gtest.h>

#include "run/encoder_decoder_runs.h"
#include "run/engine.h"
#include "run/golden_files.h"

namespace lamina::run {
namespace {

constexpr double kRelative = 1e-4;
constexpr size_t kPrompt = 4;        // tokens that say start, language, task and no time stamps
constexpr size_t kLogits = 256;      // of each row in the truth
constexpr int64_t kEncoderRow = 50;  // every so many of the encoder's rows is in the truth

class RealWhisper : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = stored_model("whisper-base");
    if (!std::filesystem::exists(folder_ / "truth/truth.json"))
      GTEST_SKIP() << "whisper-base with its truth is not in the store; tools/convert_whisper.py makes both";
    tokens_ = read_json(folder_ / "truth/truth.json").at("tokens").get<std::vector<int32_t>>();
  }
  std::vector<float> truth(const std::string& name) const { return read_numbers(folder_ / "truth" / name); }
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
  ASSERT_TRUE(run.runner->encode_frames(sequence, truth("mel.npy")));
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
    const double error = relative_error(decoder.streams[i], std::span(streams).subspan(i * size, size));
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
    ASSERT_TRUE(run.runner->encode_frames(sequence, truth("mel.npy")));
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

#include "layers/profile.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "run/model_runs.h"

namespace lamina::run {
namespace {

using layers::Op;
using layers::StepKind;

class Profiles : public testing::TestWithParam<std::string> {
 protected:
  ModelRun open() const { return ModelRun::open(golden_folder() / GetParam() / "model.gguf", {.context = 64}); }
  /// Logits of a prompt of 9 tokens and of 5 more, one by one.
  static std::vector<float> logits(ModelRun& run) {
    const auto vocabulary = static_cast<size_t>(run.model->vocabulary());
    const cache::SequenceId sequence = run.runner->open().value();
    std::vector<float> all(6 * vocabulary);
    std::vector<BatchRow> rows(9, {.token = 3, .sequence = sequence});
    rows.back().wants_logits = true;
    EXPECT_TRUE(run.runner->step(rows, std::span(all).first(vocabulary)));
    for (size_t i = 1; i < 6; ++i) {
      const std::vector<BatchRow> one{{.token = static_cast<int32_t>(i), .sequence = sequence, .wants_logits = true}};
      EXPECT_TRUE(run.runner->step(one, std::span(all).subspan(i * vocabulary, vocabulary)));
    }
    return all;
  }
};

TEST_P(Profiles, ChangeNoBitAndExplainTheWholeOfEveryStep) {
  ModelRun run = open();
  const std::vector<float> plain = logits(run);
  ModelRun watched = open();
  layers::Profile profile;
  watched.runner->set_profile(&profile);
  EXPECT_EQ(logits(watched), plain);
  EXPECT_EQ(profile.dropped(), 0);
  EXPECT_EQ(profile.sums(StepKind::kReading).steps, 1);
  EXPECT_EQ(profile.sums(StepKind::kWriting).steps, 5);
  for (const StepKind kind : {StepKind::kReading, StepKind::kWriting}) {
    const layers::StepSums& sums = profile.sums(kind);
    double seconds = 0;
    for (const layers::OpSum& sum : sums.operations) {
      EXPECT_EQ(sum.calls % sums.steps, 0);
      seconds += sum.seconds;
    }
    EXPECT_NEAR(seconds, sums.seconds, 1e-9 + 1e-6 * sums.seconds);
  }
}

TEST_P(Profiles, ProductsReadTheBytesOfTheLayersOnce) {
  ModelRun run = open();
  layers::Profile profile;
  run.runner->set_profile(&profile);
  logits(run);
  const layers::StepSums& sums = profile.sums(StepKind::kWriting);
  for (const layers::Layer& layer : run.model->layers()) {
    const bool experts = std::ranges::any_of(layer.parts, [](const auto& part) { return part.kind == "moe"; });
    int64_t bytes = 0;
    for (const layers::OpSum& sum : sums.operations) {
      if (sum.what.layer == layer.index && sum.what.op == Op::kProduct) bytes += sum.what.cost.bytes;
    }
    if (experts) {
      EXPECT_LT(bytes, sums.steps * layer.bytes()) << layer.index;
      EXPECT_GT(bytes, 0);
    } else {
      EXPECT_EQ(bytes, sums.steps * layer.bytes()) << layer.index;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Profiles,
                         testing::Values("codec", "biases", "deepseek_v2", "gpt_oss_mxfp4", "lfm2", "mamba2"));

TEST(ProfileBuffer, CountsWhatItHasNoRoomFor) {
  layers::Profile profile(2);
  profile.start(StepKind::kWriting);
  for (int i = 0; i < 5; ++i) profile.lap(Op::kNorm);
  profile.finish();
  EXPECT_EQ(profile.events().size(), 2U);
  EXPECT_EQ(profile.dropped(), 3);
  EXPECT_EQ(profile.sums(StepKind::kWriting).steps, 1);
  profile.clear();
  EXPECT_EQ(profile.sums(StepKind::kWriting).steps, 0);
}

TEST(ProfileNames, AreThereForEveryOperation) {
  for (int op = 0; op <= static_cast<int>(Op::kHook); ++op) EXPECT_FALSE(layers::op_name(static_cast<Op>(op)).empty());
}

}  // namespace
}  // namespace lamina::run

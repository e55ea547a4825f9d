// A step of as many rows as memory was planned for changes nothing, whatever the rows' form.
#include <gtest/gtest.h>

#include <cstring>

#include "run/model_runs.h"

namespace lamina::run {
namespace {

class FullStep : public testing::TestWithParam<std::string> {};

TEST_P(FullStep, GivesTheBitsOfSmallSteps) {
  for (const bool exact : {false, true}) {
    ModelRun run =
        ModelRun::open(golden_folder() / GetParam(), {.exact = exact, .threads = 1, .context = 64, .max_rows = 24});
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < 48; ++i)
      tokens.push_back(static_cast<int32_t>((i * 29 + 3) % std::min<int64_t>(run.model->vocabulary(), 100)));
    const std::vector<float> whole = run.logits(tokens, {24});
    const std::vector<float> parts = run.logits(tokens, {23, 1, 5, 19});
    EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0) << (exact ? "exact" : "int8");
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FullStep,
                         testing::Values("gqa", "gpt2", "mixtral", "qwen2moe", "qwen3moe", "gpt_oss", "deepseek_v2",
                                         "deepseek_v3", "lfm2", "mamba2", "gemma2"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lamina::run

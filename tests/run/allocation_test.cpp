// Counts every allocation of this program, to show that a draw makes none, and a step of the model none.
// The operators are not inlined: GCC would take the pair malloc and delete, or new and free, for a mistake.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "run/model_runs.h"
#include "run/sampler.h"
#include "support/source_dir.h"

namespace {
std::atomic<long> allocations{0};
}

[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto step = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (std::max(size, step) + step - 1) / step * step)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace lamina::run {
namespace {

TEST(Sampler, DoesNotAllocateAfterItIsMade) {
  constexpr int kVocabulary = 50000;
  std::vector<float> logits(kVocabulary);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 50021) * 1e-3f;
  const std::vector<int32_t> history(1000, 3);
  for (const int top_k : {0, 40, 5000}) {
    SamplingOptions options{.top_k = top_k, .typical_p = 0.9f, .repeat_penalty = 1.1f, .logit_bias = {{1, 2.0f}}};
    Sampler sampler(options, kVocabulary);
    const long before = allocations;
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(sampler.sample(logits, history));
    EXPECT_EQ(allocations, before) << top_k;
  }
  EXPECT_GT(allocations, 0);
}

/// Allocations of one step: `rows` tokens of one sequence, or one token of each of `rows` sequences.
class StepAllocations : public testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  static constexpr int32_t kRows = 32;

  void SetUp() override {
    const std::string name = std::get<0>(GetParam());
    const std::string woven = name == "biases" ? " decode:reweave(layers=0,keep=8)" : "";
    run_ = ModelRun::open(golden_folder() / name / "model.gguf",
                          {.threads = std::get<1>(GetParam()),
                           .context = 256,
                           .sequences = kRows,
                           .recipe = (name == "mamba2" ? "route:0,1,1,0" : "kv:f16 route:0,1,1,0") + woven});
    logits_.resize(static_cast<size_t>(kRows) * static_cast<size_t>(run_.model->vocabulary()));
    for (auto& sequence : sequences_) sequence = run_.runner->open().value();
  }
  long count(const std::vector<BatchRow>& rows) {
    const long before = allocations;
    const auto status = run_.runner->step(rows, logits_);
    const long made = allocations - before;
    EXPECT_TRUE(status);
    return made;
  }

  ModelRun run_;
  std::array<cache::SequenceId, kRows> sequences_;
  std::vector<float> logits_;
};

TEST_P(StepAllocations, DecodingMakesNone) {
  // 130 positions take three blocks of the cache.
  for (int i = 0; i < 130; ++i)
    EXPECT_EQ(count({{.token = i % 7, .sequence = sequences_[0], .wants_logits = true}}), 0) << i;
}

TEST_P(StepAllocations, APromptOf32RowsMakesNone) {
  for (int i = 0; i < 5; ++i) {
    std::vector<BatchRow> rows(kRows, {.token = 3, .sequence = sequences_[1]});
    rows.back().wants_logits = true;
    EXPECT_EQ(count(rows), 0) << i;
  }
}

TEST_P(StepAllocations, ABatchOf32SequencesMakesNone) {
  for (int i = 0; i < 70; ++i) {
    std::vector<BatchRow> rows;
    for (const cache::SequenceId sequence : sequences_)
      rows.push_back({.token = i % 5, .sequence = sequence, .wants_logits = true});
    EXPECT_EQ(count(rows), 0) << i;
  }
}

TEST(EncoderDecoderSteps, NeitherEncodingNorDecodingAllocates) {
  const auto folder = source_dir() / "tests/golden/encdec/t5_gated";
  for (const int threads : {1, 2}) {
    ModelRun run = ModelRun::open(folder, {.threads = threads, .context = 60, .recipe = "kv:f16 route:0,1,1"});
    std::vector<float> logits(static_cast<size_t>(run.model->vocabulary()));
    const cache::SequenceId sequence = run.runner->open().value();
    const std::vector<BatchRow> source(50, {.token = 3, .sequence = sequence});
    const std::vector<BatchRow> row{{.token = 5, .sequence = sequence, .wants_logits = true}};
    const long before = allocations;
    bool done = run.runner->encode(source).has_value();
    for (int i = 0; i < 60; ++i) done = done && run.runner->step(row, logits).has_value();
    EXPECT_EQ(allocations, before) << threads << " threads";
    EXPECT_TRUE(done);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, StepAllocations,
    testing::Combine(testing::Values("codec", "biases", "deepseek_v2", "gpt_oss_mxfp4", "lfm2", "mamba2"),
                     testing::Values(1, 2)),
    [](const auto& info) { return std::get<0>(info.param) + "_" + std::to_string(std::get<1>(info.param)); });

}  // namespace
}  // namespace lamina::run

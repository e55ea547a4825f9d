// A row's logits depend on that row's sequence alone: not on batch, threads, chunking or the instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "run/model_runs.h"

namespace lamina::run {
namespace {

constexpr int64_t kTokens = 96;

std::vector<int32_t> tokens_of(int sequence, int64_t vocabulary) {
  std::vector<int32_t> tokens(kTokens);
  for (int64_t i = 0; i < kTokens; ++i)
    tokens[static_cast<size_t>(i)] = static_cast<int32_t>((i * i * 7 + i * 31 + sequence * 13 + 5) % vocabulary);
  return tokens;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class BitEquality : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  std::filesystem::path path() const { return golden_folder() / std::get<0>(GetParam()) / "model.gguf"; }
  std::string recipe() const { return std::get<1>(GetParam()); }
  std::vector<float> expected() const {
    ModelRun run = ModelRun::open(path(), {.threads = 1, .max_rows = kTokens, .recipe = recipe()});
    return run.logits(tokens_of(0, run.model->vocabulary()), {kTokens});
  }
};

TEST_P(BitEquality, ThreadsAndChunksChangeNothing) {
  const std::vector<float> wanted = expected();
  for (const int threads : {1, 2, 5}) {
    ModelRun run = ModelRun::open(path(), {.threads = threads, .max_rows = kTokens, .recipe = recipe()});
    const auto tokens = tokens_of(0, run.model->vocabulary());
    for (const std::vector<int64_t>& pieces :
         {std::vector<int64_t>{kTokens}, {1}, {7}, {64, 1, 31}, {63, 2, 17, 3}, {33}}) {
      EXPECT_TRUE(same_bits(run.logits(tokens, pieces), wanted)) << threads << " threads, pieces of " << pieces[0];
    }
  }
}

TEST_P(BitEquality, TheBatchChangesNothing) {
  const std::vector<float> wanted = expected();
  for (const int size : {7, 32}) {
    ModelRun run =
        ModelRun::open(path(), {.threads = 2, .sequences = size, .max_rows = kTokens * size, .recipe = recipe()});
    const int64_t vocabulary = run.model->vocabulary();
    std::vector<cache::SequenceId> sequences;
    for (int i = 0; i < size; ++i) sequences.push_back(run.runner->open().value());
    const int mine = size / 2;  // the sequence that is compared rides in the middle, and out of step with the others
    std::vector<float> found;
    for (int64_t at = 0; at < kTokens; at += 8) {
      std::vector<BatchRow> rows;
      for (int i = 0; i < size; ++i) {
        const auto tokens = tokens_of(i == mine ? 0 : i + 1, vocabulary);
        const int64_t length = run.runner->length(sequences[static_cast<size_t>(i)]);
        const int64_t count = i == mine ? 8 : 1 + i % 5;
        for (int64_t j = length; j < std::min(length + count, kTokens); ++j) {
          rows.push_back({.token = tokens[static_cast<size_t>(j)],
                          .sequence = sequences[static_cast<size_t>(i)],
                          .wants_logits = i == mine || j % 3 == 0});
        }
      }
      std::vector<float> logits(rows.size() * static_cast<size_t>(vocabulary));
      ASSERT_TRUE(run.runner->step(rows, logits));
      size_t row = 0;
      for (const BatchRow& entry : rows) {
        if (!entry.wants_logits) continue;
        const auto one =
            std::span(logits).subspan(row++ * static_cast<size_t>(vocabulary), static_cast<size_t>(vocabulary));
        if (entry.sequence == sequences[static_cast<size_t>(mine)]) found.insert(found.end(), one.begin(), one.end());
      }
    }
    EXPECT_TRUE(same_bits(found, wanted)) << "batch of " << size;
  }
}

TEST_P(BitEquality, ForgettingAndComputingAgainChangesNothing) {
  const std::vector<float> wanted = expected();
  ModelRun run = ModelRun::open(path(), {.threads = 2, .max_rows = kTokens, .recipe = recipe()});
  const auto vocabulary = static_cast<size_t>(run.model->vocabulary());
  const auto tokens = tokens_of(0, run.model->vocabulary());
  const auto sequence = run.runner->open().value();
  std::vector<float> logits(tokens.size() * vocabulary);
  const auto feed = [&](size_t begin) {
    std::vector<BatchRow> rows;
    for (size_t i = begin; i < tokens.size(); ++i)
      rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = true});
    ASSERT_TRUE(run.runner->step(rows, logits));
  };
  feed(0);
  const bool rewinds = std::ranges::none_of(run.runner->cache_visits(), &cache::VisitShape::keeps_state);
  for (const int64_t wanted_length : {95, 64, 63, 1, 0}) {
    const int64_t keep = run.runner->truncate(sequence, wanted_length);
    EXPECT_EQ(keep, rewinds ? wanted_length : 0);
    feed(static_cast<size_t>(keep));
    const auto rows = tokens.size() - static_cast<size_t>(keep);
    EXPECT_TRUE(same_bits(std::span(logits).first(rows * vocabulary),
                          std::span(wanted).subspan(static_cast<size_t>(keep) * vocabulary)))
        << keep;
  }
}

std::string case_name(const testing::TestParamInfo<std::tuple<std::string, std::string>>& info) {
  return std::get<0>(info.param) + "_" + std::to_string(info.index);
}

INSTANTIATE_TEST_SUITE_P(Models, BitEquality,
                         testing::Combine(testing::Values("codec", "codec_points", "gqa", "biases"),
                                          testing::Values("kv:f32", "kv:f16", "kv:q8_0", "kv:bf16 route:0,1,1,0")),
                         case_name);
// Windows and soft caps; experts with a shared one; latent attention with the joint tensor and with its parts; sinks
// and bounded experts; states beside keys and alone.
INSTANTIATE_TEST_SUITE_P(Families, BitEquality,
                         testing::Combine(testing::Values("gemma2", "qwen2moe", "deepseek_v2_lite", "deepseek_v3",
                                                          "gpt_oss_mxfp4", "lfm2"),
                                          testing::Values("kv:f16", "kv:q8_0")),
                         case_name);
// A share of each row's inputs, of matrices input by input and of others, of experts and of latent attention.
INSTANTIATE_TEST_SUITE_P(Shares, BitEquality,
                         testing::Values(std::tuple("codec", "kv:f16 L*:rsparse(share=0.4)"),
                                         std::tuple("gqa", "kv:f16 L*:rsparse(share=0.4) L0:q8_0 L1:bf16"),
                                         std::tuple("qwen2moe", "kv:f16 L*:rsparse(share=0.4)"),
                                         std::tuple("deepseek_v2_lite", "kv:f16 L*:rsparse(share=0.4)")),
                         case_name);
INSTANTIATE_TEST_SUITE_P(States, BitEquality,
                         testing::Values(std::tuple("mamba2", ""), std::tuple("mamba2", "route:0,0,1"),
                                         std::tuple("lfm2", "kv:f16 route:0,1,1,2,2,3,0")),
                         case_name);

}  // namespace
}  // namespace lamina::run

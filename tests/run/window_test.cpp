// Layers that read a window keep no more than it, and what they compute is bit for bit what a whole cache gives.
#include <gtest/gtest.h>

#include <cstring>

#include "run/golden_files.h"
#include "run/model_runs.h"
#include "run/route_cost.h"

namespace lamina::run {
namespace {

constexpr int64_t kTokens = 450;
constexpr int64_t kContext = 500;

std::vector<int32_t> tokens_of(int sequence, int64_t vocabulary) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < kTokens; ++i)
    tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + sequence * 13 + 5) % vocabulary));
  return tokens;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class Window : public testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  ModelRun open(int threads, int64_t max_rows, int32_t sequences = 1) const {
    const auto folder = golden_folder() / GetParam().first;
    return ModelRun::open(std::filesystem::exists(folder / "model.gguf") ? folder / "model.gguf" : folder,
                          {.threads = threads,
                           .context = kContext,
                           .sequences = sequences,
                           .max_rows = max_rows,
                           .recipe = GetParam().second});
  }
  static cache::CacheBytes bytes(const ModelRun& run) {
    return Runner::plan_memory(*run.model, *run.pool, run.runner->options()).value().cache;
  }
  /// Logits with every key and value kept: the whole sequence is one step, which a window must have room for.
  std::vector<float> expected(int sequence) const {
    ModelRun run = open(1, kContext);
    EXPECT_EQ(bytes(run).windows, 0);
    return run.logits(tokens_of(sequence, run.model->vocabulary()), {kTokens});
  }
};

TEST_P(Window, KeepsWhatItsRowsReadAndNoMore) {
  ModelRun run = open(2, 7);
  const cache::CacheBytes windows = bytes(run);
  const cache::CacheBytes whole = bytes(open(1, kContext));
  // Windows of at most 65 positions and 7 more lie in two chunks, the context in eight.
  EXPECT_GT(windows.windows, 0);
  EXPECT_EQ(windows.whole + 4 * windows.windows, whole.whole);
}

TEST_P(Window, ThreadsAndChunksChangeNothing) {
  const std::vector<float> wanted = expected(0);
  for (const int threads : {1, 2, 5}) {
    for (const int64_t rows : {7, 64, 100}) {
      ModelRun run = open(threads, rows);
      const auto tokens = tokens_of(0, run.model->vocabulary());
      EXPECT_TRUE(same_bits(run.logits(tokens, {rows}), wanted)) << threads << " threads, steps of " << rows;
      EXPECT_TRUE(same_bits(run.logits(tokens, {rows, 1, 3, rows, 2, 1, 1, 5}), wanted))
          << threads << " threads, steps of up to " << rows;
    }
  }
}

TEST_P(Window, TheBatchChangesNothing) {
  constexpr int kSequences = 5;
  ModelRun run = open(2, 90, kSequences);
  const int64_t vocabulary = run.model->vocabulary();
  std::vector<cache::SequenceId> ids;
  std::vector<std::vector<float>> found(kSequences);
  for (int i = 0; i < kSequences; ++i) ids.push_back(run.runner->open().value());
  std::vector<int64_t> at(kSequences, 0);
  // Each sequence goes at its own pace.
  while (*std::ranges::min_element(at) < kTokens) {
    std::vector<BatchRow> rows;
    std::vector<int64_t> counts;
    for (int i = 0; i < kSequences; ++i) {
      const int64_t count = std::min<int64_t>(kTokens - at[static_cast<size_t>(i)], 2 + 7 * i % 18);
      const auto tokens = tokens_of(i, vocabulary);
      for (int64_t t = 0; t < count; ++t) {
        rows.push_back({.token = tokens[static_cast<size_t>(at[static_cast<size_t>(i)] + t)],
                        .sequence = ids[static_cast<size_t>(i)],
                        .wants_logits = true});
      }
      counts.push_back(count);
    }
    std::vector<float> logits(rows.size() * static_cast<size_t>(vocabulary));
    ASSERT_TRUE(run.runner->step(rows, logits));
    auto from = logits.begin();
    for (size_t i = 0; i < kSequences; ++i) {
      const auto next = from + counts[i] * vocabulary;
      found[i].insert(found[i].end(), from, next);
      from = next;
      at[i] += counts[i];
    }
  }
  for (int i = 0; i < kSequences; ++i)
    EXPECT_TRUE(same_bits(found[static_cast<size_t>(i)], expected(i))) << "sequence " << i;
}

TEST_P(Window, ForgettingAndCopyingChangeNothing) {
  const std::vector<float> wanted = expected(0);
  ModelRun run = open(2, 30, 2);
  const auto vocabulary = static_cast<size_t>(run.model->vocabulary());
  const auto tokens = tokens_of(0, run.model->vocabulary());
  std::vector<float> logits(30 * vocabulary);
  const auto feed = [&](cache::SequenceId sequence, int64_t count) {
    const auto begin = static_cast<size_t>(run.runner->length(sequence));
    std::vector<BatchRow> rows;
    for (size_t i = begin; i < begin + static_cast<size_t>(count); ++i)
      rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = true});
    ASSERT_TRUE(run.runner->step(rows, logits));
    EXPECT_TRUE(same_bits(std::span(logits).first(rows.size() * vocabulary),
                          std::span(wanted).subspan(begin * vocabulary, rows.size() * vocabulary)))
        << begin;
  };
  const auto sequence = run.runner->open().value();
  for (int64_t length = 0; length + 30 < kTokens; length += 11) {
    feed(sequence, 30);
    // The last step can be forgotten; a copy of what is left goes on as the sequence itself does.
    ASSERT_EQ(run.runner->truncate(sequence, length + 11), length + 11);
    const auto copy = run.runner->fork(sequence, length + 5).value();
    EXPECT_EQ(run.runner->length(copy), length + 5);
    feed(copy, 9);
    run.runner->close(copy);
  }
  EXPECT_EQ(run.runner->truncate(sequence, 20), 0);
  const auto copy = run.runner->fork(sequence, 0).value();
  feed(copy, 30);
  feed(sequence, 30);
}

INSTANTIATE_TEST_SUITE_P(Models, Window,
                         testing::Values(std::pair{"gemma2", "kv:f16"}, std::pair{"gemma3", "kv:f16"},
                                         std::pair{"mistral", "kv:f32"}, std::pair{"gpt_oss", "kv:f16"},
                                         std::pair{"smollm3_window", "kv:f16 route:0,1,0,2,0"}),
                         [](const auto& info) { return std::string(info.param.first); });

cache::CacheBytes planned(const std::string& name, const std::string& recipe) {
  const ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf",
                                      {.context = kContext, .sequences = 3, .max_rows = 7, .recipe = recipe});
  return Runner::plan_memory(*run.model, *run.pool, run.runner->options()).value().cache;
}

TEST(MemoryPlan, CountsWhatIsKept) {
  // Eight chunks for each of three sequences, two of them for windows of 9 and steps of 7; keys of 8, values in 16
  // halves.
  const cache::CacheBytes gemma = planned("gemma3", "kv:f16");
  EXPECT_EQ(gemma.whole, 1 * (3 * 8 + 2) * 64 * (8 + 16) * 2);
  EXPECT_EQ(gemma.windows, 6 * 3 * 2 * 64 * (8 + 16) * 2);
  EXPECT_EQ(gemma.latents + gemma.states, 0);
  // Three layers, a latent of 16 and 6 rotated numbers in rows of 32 halves.
  const cache::CacheBytes deepseek = planned("deepseek_v2_lite", "kv:f16");
  EXPECT_EQ(deepseek.latents, 3 * (3 * 8 + 2) * 64 * 32 * 2);
  EXPECT_EQ(deepseek.whole + deepseek.windows + deepseek.states, 0);
  // Three convolutions over 3 positions of 40 channels keep two of them; one layer keeps keys and values.
  const cache::CacheBytes lfm = planned("lfm2", "kv:f16");
  EXPECT_EQ(lfm.states, 3 * 3 * 2 * 40 * 4);
  EXPECT_EQ(lfm.whole, 1 * (3 * 8 + 2) * 64 * (8 + 16) * 2);
  EXPECT_EQ(lfm.windows + lfm.latents, 0);
}

TEST(RealMemoryPlan, GemmaKeepsAFifthOfALongContext) {
  const auto path = stored_gguf("gemma3-270m");
  if (!path) GTEST_SKIP() << "gemma3-270m is not in the store; `lamina pull gemma3-270m` fetches it";
  const auto model = models::Model::build(*path, {}).value();
  recipe::RunPlan plan{.route = {}, .kv_format = "f16"};
  for (const int layer : model->route()) plan.route.push_back({.layer = layer});
  const core::ThreadPool pool(1);
  const cache::CacheBytes bytes =
      Runner::plan_memory(*model, pool, {.plan = plan, .context = 32768, .max_rows = 512}).value().cache;
  // 18 layers of one key-value head of 256 and 256 halves; every sixth sees all, the others 512 positions.
  const int64_t position = (256 + 256) * 2;
  EXPECT_EQ(bytes.whole, 3 * 32768 * position);
  EXPECT_EQ(bytes.windows, 15 * 17 * 64 * position);
  EXPECT_LT(5 * bytes.total(), 18 * 32768 * position);
}

TEST(WindowCost, AWindowIsReadOnceItIsFull) {
  ModelRun run = ModelRun::open(golden_folder() / "gemma3/model.gguf", {.context = kContext, .recipe = "kv:f16"});
  const RouteCost cost = route_cost(*run.runner);
  // Seven layers, one key-value head of 8 halves and of 8 in rows of 16; every sixth sees all, the others 9 positions.
  const int64_t position = (8 + 16) * 2;
  EXPECT_EQ(cost.position_bytes, position);
  EXPECT_EQ(cost.cache_bytes(4), 7 * 4 * position);
  EXPECT_EQ(cost.cache_bytes(100), (100 + 6 * 9) * position);
}

}  // namespace
}  // namespace lamina::run

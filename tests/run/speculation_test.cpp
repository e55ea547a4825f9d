// What a text says does not depend on guesses about it, and guesses are made while they pay.
#include "run/speculation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/vocabulary.h"
#include "run/engine.h"
#include "run/model_runs.h"
#include "run/plan_recipe.h"

namespace lamina::run {
namespace {

using testing::HasSubstr;

constexpr int kTexts = 3;

/// Texts that repeat themselves, and one that hardly does; greedy, drawn, and drawn with penalties.
std::vector<GenerationRequest> requests(int64_t vocabulary) {
  std::vector<GenerationRequest> all;
  for (int number = 0; number < kTexts; ++number) {
    GenerationRequest request{.prompt = {}, .sampling = {.temperature = 0}, .max_tokens = 40, .stops = {}, .sink = {}};
    const int period = number == 1 ? 1000 : 4 + number;
    for (int i = 0; i < 15 + 9 * number; ++i)
      request.prompt.push_back(static_cast<int32_t>((i % period * 31 + number * 7 + 3) % vocabulary));
    if (number > 0)
      request.sampling = {.temperature = 3, .top_k = 20, .top_p = 1, .min_p = 0, .seed = static_cast<uint64_t>(number)};
    if (number == 2) request.sampling.repeat_penalty = 1.05F;
    request.ignore_end = true;
    all.push_back(std::move(request));
  }
  return all;
}

/// The tokens of each request, all written side by side.
std::vector<std::vector<int32_t>> write(Runner& runner, Speculation* speculation,
                                        std::vector<GenerationRequest> requests) {
  Engine engine(runner, nullptr, speculation);
  const size_t count = requests.size();
  for (GenerationRequest& request : requests) EXPECT_TRUE(engine.submit(std::move(request)));
  const auto status = engine.finish();
  EXPECT_TRUE(status) << status.error().text();
  std::vector<std::vector<int32_t>> texts;
  for (size_t i = 0; i < count; ++i) texts.push_back(engine.result(i).tokens);
  return texts;
}

std::filesystem::path path_of(const std::string& name) {
  const auto folder = golden_folder() / name;
  return std::filesystem::exists(folder / "model.gguf") ? folder / "model.gguf" : folder;
}

class Speculating : public testing::TestWithParam<std::tuple<std::string, std::string, std::string>> {
 protected:
  ModelRun open(const std::string& draft, int threads, int64_t max_rows) const {
    const std::string recipe = std::get<1>(GetParam()) + draft;
    return ModelRun::open(
        path_of(std::get<0>(GetParam())),
        {.threads = threads, .context = 160, .sequences = kTexts, .max_rows = max_rows, .recipe = recipe});
  }
  /// Of all cases together: some models repeat themselves so well that every guess is right.
  static void TearDownTestSuite() {
    EXPECT_GT(wrong_, 0);
    EXPECT_GT(right_, 0);
    wrong_ = 0;
    right_ = 0;
  }
  static inline int64_t wrong_ = 0;
  static inline int64_t right_ = 0;
};

TEST_P(Speculating, ChangesNoToken) {
  ModelRun plain = open("", 1, 64);
  const auto wanted = write(*plain.runner, nullptr, requests(plain.model->vocabulary()));
  for (const auto& [threads, rows] : {std::pair{1, 64}, {2, 9}}) {
    if (threads > 1 && std::get<1>(GetParam()) != "kv:f16") continue;  // the cache's format is no matter of threads
    ModelRun run = open(" draft:" + std::get<2>(GetParam()), threads, rows);
    const auto speculation = Speculation::create(*run.runner->options().plan.draft, *run.runner).value();
    EXPECT_EQ(write(*run.runner, speculation.get(), requests(run.model->vocabulary())), wanted);
    const DraftCounts& counts = speculation->counts();
    EXPECT_GE(counts.drafted, counts.accepted);
    wrong_ += counts.drafted - counts.accepted;
    right_ += counts.accepted;
    EXPECT_GT(counts.steps, 5);
    // And once more, with what the speculation has learned, and alone.
    for (size_t i = 0; i < kTexts; ++i) {
      const auto request = requests(run.model->vocabulary())[i];
      EXPECT_EQ(write(*run.runner, speculation.get(), {request}).front(), wanted[i]);
    }
  }
}

std::string case_name(const testing::TestParamInfo<std::tuple<std::string, std::string, std::string>>& info) {
  return std::get<0>(info.param) + "_" + std::to_string(info.index);
}

INSTANTIATE_TEST_SUITE_P(CacheFormats, Speculating,
                         testing::Combine(testing::Values("untied"),
                                          testing::Values("kv:f32", "kv:f16", "kv:bf16", "kv:q8_0",
                                                          "kv:f16 route:0,1,1,0", "route:0,(1|0),0-"),
                                          testing::Values("ngram(match=1,when=always)",
                                                          "route(skip=0,tokens=5,confidence=0,when=always)",
                                                          "route(attn=0-1,mlp=1,confidence=0.02,when=always)")),
                         case_name);
// Windows, experts, latents and sinks.
INSTANTIATE_TEST_SUITE_P(Families, Speculating,
                         testing::Combine(testing::Values("gemma2", "gemma3", "mistral", "smollm3_window", "qwen2moe",
                                                          "mixtral", "deepseek_v2_lite", "gpt_oss_mxfp4"),
                                          testing::Values("kv:f16"),
                                          testing::Values("ngram(match=1,tokens=5,when=always)",
                                                          "route(skip=1,confidence=0,when=always)")),
                         case_name);

TEST(Speculation, AnotherModelGuesses) {
  ModelRun run = ModelRun::open(path_of("untied"), {.context = 160, .sequences = kTexts});
  const auto wanted = write(*run.runner, nullptr, requests(run.model->vocabulary()));
  // With the same model every greedy guess is right; with fewer layers some are.
  for (const std::string recipe : {"", "route:0"}) {
    ModelRun draft = ModelRun::open(path_of("untied"), {.context = 70, .sequences = kTexts, .recipe = recipe});
    const recipe::DraftPlan plan{.source = recipe::DraftPlan::Source::kModel, .tokens = 4, .always = true};
    Speculation speculation(
        plan, make_model_drafter(std::move(draft.model), std::move(draft.runner), run.model->vocabulary(), 0));
    EXPECT_EQ(write(*run.runner, &speculation, requests(run.model->vocabulary())), wanted);
    EXPECT_EQ(write(*run.runner, &speculation, requests(run.model->vocabulary())), wanted);
    EXPECT_GT(speculation.counts().accepted, 0);
    if (recipe.empty()) {
      EXPECT_GT(speculation.counts().acceptance(), 0.9);
    }
  }
}

TEST(Speculation, EndsWhereThePlainTextEnds) {
  ModelRun run =
      ModelRun::open(path_of("untied"), {.context = 64, .sequences = 1, .recipe = "draft:ngram(match=1,when=always)"});
  const auto speculation = Speculation::create(*run.runner->options().plan.draft, *run.runner).value();
  for (const int64_t most : {1, 2, 3, 7, 20, -1}) {
    GenerationRequest request = requests(run.model->vocabulary())[0];
    request.max_tokens = most;
    const auto wanted = write(*run.runner, nullptr, {request});
    EXPECT_EQ(write(*run.runner, speculation.get(), {request}), wanted) << most;
    EXPECT_EQ(std::ssize(wanted[0]), most < 0 ? 64 + 1 - std::ssize(request.prompt) : most);
  }
}

TEST(Speculation, LeavesASequenceAsLongAsItsText) {
  ModelRun run =
      ModelRun::open(path_of("untied"), {.context = 160, .sequences = 1, .recipe = "draft:ngram(match=1,when=always)"});
  const auto speculation = Speculation::create(*run.runner->options().plan.draft, *run.runner).value();
  const auto sequence = run.runner->open().value();
  GenerationRequest request = requests(run.model->vocabulary())[0];
  const auto wanted = write(*run.runner, nullptr, {}).size();
  EXPECT_EQ(wanted, 0U);
  for (int turn = 0; turn < 3; ++turn) {
    const auto prompt = std::ssize(request.prompt);
    request.max_tokens = 13 + turn;
    Engine engine(*run.runner, nullptr, speculation.get());
    ASSERT_TRUE(engine.submit(request, sequence));
    ASSERT_TRUE(engine.finish());
    // All but the last token, which nobody has asked about yet.
    EXPECT_EQ(run.runner->length(sequence), prompt + request.max_tokens - 1);
    const auto& tokens = engine.result(0).tokens;
    request.prompt.insert(request.prompt.end(), tokens.begin(), tokens.end());
  }
}

TEST(Speculation, RefusesWhatCannotForget) {
  for (const std::string name : {"lfm2", "mamba2"}) {
    const auto model = models::Model::build(path_of(name), {}).value();
    for (const std::string draft : {"draft:ngram", "draft:route(skip=1)", "draft:model(\"x\")"}) {
      const auto plan = plan_recipe(draft, *model);
      ASSERT_FALSE(plan) << name;
      EXPECT_EQ(plan.error().code, core::ErrorCode::kUnsupported);
      EXPECT_THAT(plan.error().message, HasSubstr("needs a cache without recurrent states"));
    }
  }
}

std::vector<int32_t> ngram(std::vector<int32_t> known, int match, int64_t most) {
  std::vector<int32_t> guess;
  DraftText text{.known = known, .most = most, .guess = &guess};
  EXPECT_TRUE(make_ngram_drafter(match)->guess(std::span(&text, 1)));
  return guess;
}

TEST(NgramDrafter, GoesOnAfterTheLongestAndLatestRepetition) {
  using Tokens = std::vector<int32_t>;
  EXPECT_EQ(ngram({1, 2, 3, 4, 5, 2, 3}, 2, 2), (Tokens{4, 5}));
  EXPECT_EQ(ngram({1, 2, 3, 4, 5, 2, 3}, 3, 2), Tokens{});
  EXPECT_EQ(ngram({9, 3, 7, 2, 3, 8, 4, 3, 5, 2, 3}, 1, 1), Tokens{8});  // two tokens beat the later one
  EXPECT_EQ(ngram({2, 3, 6, 2, 3, 8, 2, 3}, 2, 1), Tokens{8});           // the later one of two
  EXPECT_EQ(ngram({5, 1, 2, 1, 2}, 2, 7), (Tokens{1, 2, 1, 2, 1, 2, 1}));
  EXPECT_EQ(ngram({7, 7, 7}, 2, 3), (Tokens{7, 7, 7}));
  EXPECT_EQ(ngram({1, 2, 3}, 1, 4), Tokens{});
  EXPECT_EQ(ngram({1}, 1, 4), Tokens{});
  EXPECT_EQ(ngram({1, 1}, 1, 0), Tokens{});
}

/// Steps of a pace, of which those with a guess give `tokens` tokens and take `seconds`; plain ones give one in one.
int64_t guessed_steps(DraftPace& pace, int steps, double seconds, int64_t tokens) {
  int64_t guessed = 0;
  for (int i = 0; i < steps; ++i) {
    const bool wants = pace.wants(1);
    guessed += wants ? 1 : 0;
    pace.note(1, wants, wants ? seconds : 1, wants ? tokens : 1);
  }
  return guessed;
}

TEST(DraftPace, RestsLongerAndLongerWhileGuessingDoesNotPay) {
  DraftPace slow(false);
  const int64_t first = guessed_steps(slow, 100, 2.5, 2);
  EXPECT_GT(first, 5);
  EXPECT_LT(first, 40);
  const int64_t later = guessed_steps(slow, 1000, 2.5, 2);
  EXPECT_GT(later, 0);
  EXPECT_LT(later, 50);
  // It pays now, which the next try shows.
  guessed_steps(slow, 1100, 1.5, 2);
  EXPECT_GT(guessed_steps(slow, 100, 1.5, 2), 90);
}

TEST(DraftPace, GuessesWhileItPaysAndAlwaysWhenToldTo) {
  DraftPace quick(false);
  EXPECT_GT(guessed_steps(quick, 1000, 1.9, 2), 950);
  DraftPace always(true);
  EXPECT_EQ(guessed_steps(always, 100, 9, 1), 100);
}

TEST(Vocabulary, ADraftMustHaveTheSameTokens) {
  const auto qwen = models::load_tokenizer(path_of("qwen2")).value();
  EXPECT_TRUE(models::check_same_tokens(qwen, qwen));
}

}  // namespace
}  // namespace lamina::run

#include "compress/bits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "compress/model_statistics.h"
#include "stats/sensitivity.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

fs::path codec_model() {
  return golden_folder() / "codec" / "model.gguf";
}

fs::path saved_statistics(const fs::path& model, const TemporaryFolder& folder) {
  run::ModelRun run = run::ModelRun::open(model, {});
  stats::Statistics statistics = statistics_of(run);
  const std::vector<int32_t> text = some_tokens(96, run.model->vocabulary());
  EXPECT_TRUE(stats::add_sensitivity(*run.runner, *run.pool, text, {.window = 48}, {}, statistics));
  return save_statistics(statistics, folder);
}

struct Bits {
  std::string recipe;
  int64_t target = 0;
  fs::path statistics{};
  fs::path model = codec_model();
  std::string file = "out.gguf";
};

core::Result<CompressReport> compressed(const TemporaryFolder& folder, const Bits& bits) {
  core::ThreadPool pool(2);
  return compress({.model = bits.model,
                   .out = folder.path() / bits.file,
                   .recipe = bits.recipe,
                   .statistics = bits.statistics,
                   .target_bytes = bits.target,
                   .force = true},
                  pool, {});
}

int64_t bytes_of(const TemporaryFolder& folder, const std::string& recipe) {
  return compressed(folder, {.recipe = recipe})->bytes;
}

TEST(Bits, StaysWithinTheTargetAndBelowThePlainPresetsError) {
  const TemporaryFolder temporary;
  const fs::path statistics = saved_statistics(codec_model(), temporary);
  const int64_t target = bytes_of(temporary, "L*:q4_k embed:q8_0 head:q8_0");
  const auto report =
      compressed(temporary, {.recipe = "L*:bits embed:q8_0 head:q8_0", .target = target, .statistics = statistics});
  ASSERT_TRUE(report) << report.error().text();
  EXPECT_LE(report->bytes, target);
  EXPECT_GT(report->bytes, target * 9 / 10);
  ASSERT_EQ(report->bits.size(), 1U);
  const BitsReport& bits = report->bits.front();
  EXPECT_THAT(bits.measure, HasSubstr("estimated divergence in nats, by relative squared errors of outputs"));
  EXPECT_FALSE(bits.plain_won);
  EXPECT_FALSE(bits.plain.empty());
  EXPECT_LE(bits.error, bits.plain_error);
  EXPECT_LE(bits.bound, bits.error);
  std::map<std::string, std::string> after;
  for (const TensorReport& tensor : report->tensors) after[tensor.name] = tensor.after;
  double sum = 0;
  std::set<std::string> codecs;
  for (const BitsRow& row : bits.rows) {
    EXPECT_EQ(after[row.tensor], row.codec) << "what the report says is what the file has";
    sum += row.error;
    codecs.insert(row.codec);
  }
  EXPECT_NEAR(sum, bits.error, 1e-9 * sum);
  EXPECT_GT(codecs.size(), 1U) << "tensors differ in what their errors cost";
}

TEST(Bits, KeepsAnAverageAndGoesWithRounding) {
  const TemporaryFolder temporary;
  const fs::path statistics = saved_statistics(codec_model(), temporary);
  const auto report = compressed(temporary, {.recipe = "L*:gptq+bits(avg=4.5)", .statistics = statistics});
  ASSERT_TRUE(report) << report.error().text();
  int64_t numbers = 0;
  const format::ModelFiles source = opened(codec_model());
  for (const BitsRow& row : report->bits.front().rows) numbers += source.find(row.tensor)->elements();
  EXPECT_LE(static_cast<double>(report->bits.front().bytes) * 8, 4.5 * static_cast<double>(numbers));
  EXPECT_GT(static_cast<double>(report->bits.front().bytes) * 8, 4.2 * static_cast<double>(numbers));
  int compensated = 0;
  for (const TensorReport& tensor : report->tensors) compensated += tensor.gptq ? 1 : 0;
  EXPECT_GE(compensated, std::ssize(report->bits.front().rows) / 2) << "some keep the format that they have";
}

TEST(Bits, SayThatNothingIsLeftToRoundWhereTheBudgetHoldsAllAsItIs) {
  const TemporaryFolder temporary;
  ASSERT_TRUE(compressed(temporary, {.recipe = "L*:q8_0", .file = "small.gguf"}));
  const fs::path model = temporary.path() / "small.gguf";
  const fs::path statistics = saved_statistics(model, temporary);
  const auto with = [&](const std::string& recipe, int64_t target) {
    return compressed(temporary, {.recipe = recipe, .target = target, .statistics = statistics, .model = model});
  };
  const auto plain = with("L*:bits", 100'000'000);
  ASSERT_TRUE(plain) << plain.error().text();
  const auto refused = with("L*:gptq+bits", 100'000'000);
  ASSERT_FALSE(refused);
  EXPECT_THAT(
      refused.error().text(),
      HasSubstr("character 4: gptq finds nothing to round: the budget lets bits leave every matrix of L* in the "
                "format that it has; a smaller budget, or bits without gptq, expected"));
  const auto again = with("L*:gptq+q8_0", 0);
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().text(), HasSubstr("every matrix of L* has the format already that the recipe gives it"));
}

// A tensor that keeps its format is copied, so it loses nothing; nor does the measure say so.
TEST(Bits, KeepsWhatHasTheFormatAlready) {
  const TemporaryFolder temporary;
  ASSERT_TRUE(compressed(temporary, {.recipe = "L*:q4_1", .file = "small.gguf"}));
  const fs::path model = temporary.path() / "small.gguf";
  const auto report = compressed(temporary, {.recipe = "L*:bits(avg=5)", .model = model});
  ASSERT_TRUE(report) << report.error().text();
  const BitsReport& bits = report->bits.front();
  EXPECT_EQ(bits.error, 0);
  const format::ModelFiles before = opened(model);
  const format::ModelFiles after = opened(temporary.path() / "out.gguf");
  for (const BitsRow& row : bits.rows) {
    EXPECT_EQ(row.codec, "q4_1") << row.tensor;
    const core::TensorView* old = before.find(row.tensor);
    const core::TensorView* now = after.find(row.tensor);
    ASSERT_TRUE(old != nullptr && now != nullptr && old->bytes() == now->bytes()) << row.tensor;
    EXPECT_EQ(std::memcmp(old->data, now->data, static_cast<size_t>(old->bytes())), 0) << row.tensor;
  }
}

TEST(Bits, PublishedOrdersGiveWholeLayersTheNextFormat) {
  const TemporaryFolder temporary;
  const fs::path statistics = saved_statistics(codec_model(), temporary);
  for (const char* order : {"lim", "zscore"}) {
    const std::string recipe = fmt::format("L*:bits(avg=4.8,order={},low=iq4_nl,high=q4_1)", order);
    const auto report = compressed(temporary, {.recipe = recipe, .statistics = statistics});
    ASSERT_TRUE(report) << report.error().text();
    std::map<std::string, std::set<std::string>> by_layer;
    // Rows of 128 numbers have q5_0 for q4_k.
    for (const BitsRow& row : report->bits.front().rows)
      if (row.tensor.find("attn_output") == std::string::npos)
        by_layer[row.tensor.substr(0, row.tensor.find('.', 4))].insert(row.codec);
    for (const auto& [layer, codecs] : by_layer) EXPECT_EQ(codecs.size(), 1U) << order << " " << layer;
  }
}

// Without statistics the error of the weights stands for that of the outputs; folders and fused tensors work too.
TEST(Bits, WorksWithoutStatisticsAndIntoTheOtherContainer) {
  const TemporaryFolder temporary;
  for (const char* name : {"gqa", "phi3", "qwen3moe", "gpt2"}) {
    const fs::path folder = folder_alone(golden_folder() / name, temporary);
    const auto report =
        compressed(temporary, {.recipe = "L*:bits(avg=16)", .model = folder, .file = std::string(name) + ".gguf"});
    ASSERT_TRUE(report) << name << ": " << report.error().text();
    EXPECT_EQ(report->bits.front().measure, "sum of relative squared errors of weights");
    EXPECT_LE(report->bits.front().bytes, report->bits.front().budget);
  }
}

TEST(Bits, RefusesImpossibleBudgetsWithTheLeastPossible) {
  const TemporaryFolder temporary;
  const auto message = [&](const Bits& bits) {
    const auto report = compressed(temporary, bits);
    EXPECT_FALSE(report) << bits.recipe;
    return report ? "" : report.error().text();
  };
  const std::string impossible = message({.recipe = "L*:bits", .target = 10});
  EXPECT_THAT(impossible, HasSubstr("recipe, character 4: bits: 0 bytes for these matrices, and they take at least"));
  EXPECT_THAT(message({.recipe = "L*:bits(avg=1)"}), HasSubstr("and they take at least"));
  EXPECT_THAT(message({.recipe = "L*:bits"}), HasSubstr("bits(avg=4.5), or --target-bytes"));
  EXPECT_THAT(message({.recipe = "L*:q4_k", .target = 1 << 20}), HasSubstr("L*:bits gives matrices"));
  EXPECT_THAT(message({.recipe = "L0:bits L1-:bits", .target = 1 << 20}), HasSubstr("give this one an average"));
  EXPECT_THAT(message({.recipe = "L*:bits(avg=4)+q4_k"}), HasSubstr("bits chooses the format"));
  EXPECT_THAT(message({.recipe = "L*:bits(avg=4,low=q8_0,high=q4_k)"}), HasSubstr("the smaller first"));
  EXPECT_THAT(message({.recipe = "L*:bits(avg=4,order=lim)"}), HasSubstr("`lamina stats`"));
  EXPECT_FALSE(fs::exists(temporary.path() / "out.gguf"));
}

/// A matrix of 16 rows of 256 numbers.
OutputTensor matrix_named(const std::string& name, const std::string& role, const std::string& key,
                          const std::vector<float>& numbers) {
  constexpr int64_t kRows = 16;
  const int64_t inputs = std::ssize(numbers) / kRows;
  OutputTensor tensor{.name = name, .inputs = inputs, .matrix = true, .layer = 0, .role = role, .key = key};
  core::TensorView view{.format = &codec::find_codec("f32")->format, .rank = 2};
  view.shape = {kRows, inputs, 1, 1};
  view.data = reinterpret_cast<const std::byte*>(numbers.data());
  tensor.shape = view;
  tensor.sources.push_back({.view = view});
  for (int32_t row = 0; row < kRows; ++row) tensor.rows.push_back({.source = 0, .row = row});
  return tensor;
}

// Attention, the expert that most tokens chose, of the others the last matrix first.
TEST(Bits, GoesByHowManyTokensChooseAnExpert) {
  std::vector<float> numbers(4096);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = std::sin(0.37F * static_cast<float>(i * i % 977));
  std::vector<OutputTensor> tensors;
  stats::Statistics statistics;
  const auto add = [&](const std::string& name, const std::string& role, const std::string& key, int64_t reads) {
    tensors.push_back(matrix_named(name, role, key, numbers));
    statistics.matrices.push_back(
        {.tensor = name, .inputs = 256, .squares = std::vector<double>(256), .rows = {reads}});
  };
  for (const int64_t expert : {0, 1}) {
    for (const std::string key : {"gate", "up", "down"})
      add(fmt::format("{}.{}", key, expert), "mlp", key, expert == 0 ? 10 : 50);
  }
  add("q", "attn", "q", 100);
  const auto chosen = [&](double average) {
    const recipe::Recipe recipe =
        recipe::parse(fmt::format("L*:bits(avg={},order=experts,low=q6_k,high=q8_0)", average)).value();
    core::ThreadPool pool(2);
    std::vector<BitsReport> reports;
    const auto formats = choose_bits({.recipe = recipe,
                                      .layers = 1,
                                      .tensors = tensors,
                                      .importance = Importance(),
                                      .statistics = &statistics,
                                      .pool = pool},
                                     reports);
    EXPECT_TRUE(formats) << formats.error().text();
    std::set<std::string> more;
    for (const auto& [name, codec] : *formats) {
      if (codec->format.name == "q8_0") more.insert(name);
    }
    return more;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(chosen(6.9), (Names{"q"}));
  EXPECT_EQ(chosen(7.2), (Names{"q", "down.1"}));
  EXPECT_EQ(chosen(7.7), (Names{"q", "down.1", "gate.1", "up.1"}));
  EXPECT_EQ(chosen(8.0), (Names{"q", "down.1", "gate.1", "up.1", "down.0"}));
  statistics.matrices.pop_back();
  const recipe::Recipe recipe = recipe::parse("L*:bits(avg=7,order=experts,low=q6_k,high=q8_0)").value();
  core::ThreadPool pool(2);
  std::vector<BitsReport> reports;
  const auto refused = choose_bits({.recipe = recipe,
                                    .layers = 1,
                                    .tensors = tensors,
                                    .importance = Importance(),
                                    .statistics = &statistics,
                                    .pool = pool},
                                   reports);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("nothing is known of tensor q"));
}

}  // namespace
}  // namespace lamina::compress

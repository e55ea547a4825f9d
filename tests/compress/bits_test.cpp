#include "compress/bits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "compress/conversions.h"
#include "stats/collector.h"
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
  std::vector<int32_t> text;
  for (int64_t i = 0; i < 96; ++i)
    text.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + 44) % run.model->vocabulary()));
  auto statistics =
      stats::collect(*run.runner, *run.pool, text,
                     {.window = 48, .collector = {.grams = true, .most_gram_bytes = int64_t{1} << 30}}, {})
          .value();
  EXPECT_TRUE(stats::add_sensitivity(*run.runner, *run.pool, text, {.window = 48}, {}, statistics));
  const fs::path path = folder.path() / "stats.safetensors";
  EXPECT_TRUE(stats::save(statistics, path));
  return path;
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

}  // namespace
}  // namespace lamina::compress

#include "compress/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <list>

#include "compress/conversions.h"
#include "compress/merge_rules.h"
#include "format/safetensors_writer.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using nlohmann::json;
using run::golden_folder;
using testing::HasSubstr;

MergeRule rule_of(const json& one) {
  const std::map<std::string, MergeKind> kinds{{"linear", MergeKind::kLinear},
                                               {"slerp", MergeKind::kSlerp},
                                               {"arithmetic", MergeKind::kArithmetic},
                                               {"ties", MergeKind::kTies},
                                               {"dare", MergeKind::kDare}};
  return {.kind = kinds.at(one.at("kind")),
          .weights = one.value("weights", std::vector<double>()),
          .t = one.value("t", 0.5),
          .density = one.value("density", 1.0),
          .scale = one.value("scale", 1.0),
          .seed = one.value("seed", uint64_t{1})};
}

// merge_reference.json is made by make_merge_reference.py with numpy.
TEST(MergeRules, DoWhatNumpyDoes) {
  const json reference = run::read_json(source_dir() / "tests/compress/merge_reference.json");
  const auto base = reference.at("base").get<std::vector<float>>();
  const auto all = reference.at("models").get<std::vector<std::vector<float>>>();
  for (const json& one : reference.at("cases")) {
    std::vector<std::vector<float>> models(all.begin(), all.begin() + one.value("models", 3));
    if (one.value("same", false)) models[1] = models[0];
    const std::vector<float> merged = merge_numbers(rule_of(one), base, models, one.value("name", ""));
    const auto wanted = one.at("result").get<std::vector<double>>();
    ASSERT_EQ(merged.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i)
      EXPECT_NEAR(merged[i], wanted[i], 1e-6 * (1 + std::abs(wanted[i]))) << one.at("kind") << " " << i;
  }
}

TEST(MergeRules, ChancesAreThoseOfTheDensity) {
  for (const double density : {0.1, 0.5, 0.9}) {
    int kept = 0;
    for (uint64_t i = 0; i < 20000; ++i) kept += kept_by_chance(3, "0.mlp.up.0", 1, i, density) ? 1 : 0;
    EXPECT_NEAR(kept / 20000.0, density, 0.012);
  }
  EXPECT_FALSE(kept_by_chance(3, "x", 0, 0, 0));
  EXPECT_TRUE(kept_by_chance(3, "x", 0, 0, 1));
}

/// A copy of a model's folder whose numbers are all multiplied by `factor`.
fs::path scaled(const TemporaryFolder& temporary, const std::string& golden, float factor) {
  const fs::path folder = temporary.path() / fmt::format("{}-{}", golden, factor);
  const fs::path source = folder_alone(golden_folder() / golden, temporary);
  core::ThreadPool pool(2);
  auto edit = ModelEdit::open(std::move(*models::Model::build(source, {})), temporary.path(), pool);
  EXPECT_TRUE(edit);
  fs::create_directory(folder);
  fs::copy(source / "config.json", folder / "config.json");
  format::SafetensorsWriter writer;
  std::list<std::vector<float>> kept;
  for (const format::NamedTensor& tensor : edit->model().files().tensors()) {
    std::vector<float>& numbers = kept.emplace_back(numbers_of(tensor.view));
    for (float& x : numbers) x *= factor;
    core::TensorView view = tensor.view;
    view.format = &codec::find_codec("f32")->format;
    view.data = reinterpret_cast<const std::byte*>(numbers.data());
    EXPECT_TRUE(writer.add_tensor(std::string(tensor.name), view));
  }
  EXPECT_TRUE(writer.write(folder / "model.safetensors"));
  fs::remove_all(source);
  return folder;
}

core::Result<CompressReport> merged(const MergeSources& sources, const fs::path& first, const fs::path& out,
                                    const std::string& recipe) {
  core::ThreadPool pool(2);
  return compress({.model = first, .out = out, .recipe = recipe, .force = true, .merge = sources}, pool, {});
}

TEST(Merge, MakesOneModelOfSeveral) {
  const TemporaryFolder temporary;
  const fs::path one = scaled(temporary, "gqa", 1);
  const fs::path three = scaled(temporary, "gqa", 3);
  const fs::path out = temporary.path() / "out";
  const auto expect_factor = [&](const core::Result<CompressReport>& report, float factor) {
    ASSERT_TRUE(report) << report.error().text();
    const auto files = opened(out);
    const auto source = opened(one);
    EXPECT_EQ(files.tensors().size(), source.tensors().size());
    for (const format::NamedTensor& tensor : source.tensors()) {
      std::vector<float> wanted = numbers_of(tensor.view);
      const std::vector<float> found = numbers_of(*files.find(tensor.name));
      for (size_t i = 0; i < wanted.size(); ++i)
        ASSERT_NEAR(found[i], factor * wanted[i], 1e-5 * std::abs(wanted[i])) << tensor.name;
    }
  };
  expect_factor(merged({.others = {three}}, one, out, ""), 2);
  expect_factor(merged({.others = {three}}, one, out, "merge:linear(weights=\"0.75,0.25\")"), 1.5F);
  expect_factor(merged({.others = {three}}, one, out, "merge:slerp(t=0.25)"), 1.5F);
  expect_factor(merged({.others = {three}, .base = one}, one, out, "merge:arithmetic(scale=0.5)"), 2);
  expect_factor(merged({.others = {three}, .base = one}, one, out, "merge:ties(density=1)"), 3);
  expect_factor(merged({.others = {one}}, one, out, ""), 1);
  EXPECT_TRUE(merged({.others = {three}}, one, temporary.path() / "out.gguf", "merge:linear L*:q8_0"));
  EXPECT_EQ(opened(temporary.path() / "out.gguf").find("blk.0.attn_q.weight")->format->name, "q8_0");
}

TEST(Merge, RefusesWhatDoesNotFit) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out";
  const fs::path first = golden_folder() / "gqa" / "model.gguf";
  const auto refusal = [&](const MergeSources& sources, const std::string& recipe, const fs::path& model) {
    const auto report = merged(sources, model, out, recipe);
    EXPECT_FALSE(report) << recipe;
    return report ? std::string() : report.error().text();
  };
  EXPECT_THAT(refusal({.others = {first}}, "merge:ties", first), HasSubstr("--base expected"));
  EXPECT_THAT(refusal({.others = {first}, .base = first}, "merge:linear", first), HasSubstr("no use for --base"));
  EXPECT_THAT(refusal({.others = {first, first}}, "merge:slerp", first), HasSubstr("between two models; 3"));
  EXPECT_THAT(refusal({.others = {first}}, "merge:linear(weights=\"1\")", first), HasSubstr("1 weights for 2 models"));
  EXPECT_THAT(refusal({.others = {first}}, "merge:linear(weights=\"1,x\")", first), HasSubstr("parted by commas"));
  EXPECT_THAT(refusal({.others = {golden_folder() / "gqa"}}, "", first), HasSubstr("another container"));
  EXPECT_THAT(refusal({.others = {golden_folder() / "gemma3" / "model.gguf"}}, "", first), HasSubstr("architecture"));
  const std::string other = refusal({.others = {golden_folder() / "untied" / "model.gguf"}}, "", first);
  EXPECT_THAT(other, HasSubstr("tensor"));
  EXPECT_THAT(write(first, out, "merge:linear").error().text(), HasSubstr("`lamina merge` takes them"));
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace lamina::compress

#include "compress/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

#include "compress/conversions.h"
#include "format/gguf_writer.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using format::Container;
using format::ModelFiles;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;

std::vector<float> logits_of(const fs::path& path, const std::string& golden, const std::string& recipe = "kv:f32") {
  ModelRun run = ModelRun::open(path, {.recipe = recipe});
  return run.logits(run::read_npy<int32_t>(golden_folder() / golden / "tokens.npy", "<i4"), {64});
}

// The GGUF files among the golden models were written by another program from the same weights.
class GoldenFamily : public testing::TestWithParam<std::string> {};

TEST_P(GoldenFamily, FolderBecomesTheReferencesGguf) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out.gguf";
  written(folder_alone(golden_folder() / GetParam(), temporary), out);
  const ModelFiles reference = opened(golden_folder() / GetParam() / "model.gguf");
  const ModelFiles own = opened(out);
  expect_numbers(own, reference);
  EXPECT_EQ(own.tensors().size(), reference.tensors().size());
}

TEST_P(GoldenFamily, GgufBecomesTheReferencesFolder) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out";
  written(golden_folder() / GetParam() / "model.gguf", out);
  expect_numbers(opened(out), opened(golden_folder() / GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenFamily,
                         testing::Values("biases", "gemma2", "gemma3", "gpt2", "gptneox", "gptneox_sequential", "gqa",
                                         "granite", "head_dim", "mha_tied", "mixtral", "olmo2", "qwen2", "qwen2moe",
                                         "qwen3", "qwen3moe", "rope_linear", "rope_yarn", "starcoder2", "untied"),
                         [](const auto& info) { return info.param; });

TEST(Convert, ListsOfTheConfigurationBecomeTensors) {
  const TemporaryFolder temporary;
  written(folder_alone(golden_folder() / "phi3", temporary), temporary.path() / "out.gguf");
  expect_numbers(opened(temporary.path() / "out.gguf"), opened(golden_folder() / "phi3" / "model.gguf"));
}

// The divisors of a tensor and the rule that makes them are one thing in two forms.
TEST(Convert, RotaryFactorsBecomeARuleAndBack) {
  const TemporaryFolder temporary;
  const fs::path first = golden_folder() / "rope_llama3" / "model.gguf";
  written(first, temporary.path() / "folder");
  const nlohmann::json rope = opened(temporary.path() / "folder").config().at("rope_scaling");
  const nlohmann::json wanted = opened(golden_folder() / "rope_llama3").config().at("rope_scaling");
  for (const auto& [key, value] : wanted.items()) EXPECT_EQ(rope.at(key), value) << key;
  const fs::path crooked = temporary.path() / "crooked.gguf";
  written(first, crooked);
  const ModelFiles files = opened(crooked);
  std::fstream file(crooked, std::ios::in | std::ios::out | std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  const core::TensorView& factors = *files.find("rope_freqs.weight");
  const std::string bytes(reinterpret_cast<const char*>(factors.data), static_cast<size_t>(factors.bytes()));
  const float another = 5;
  file.clear();
  file.seekp(static_cast<std::streamoff>(text.find(bytes)));
  file.write(reinterpret_cast<const char*>(&another), 4);
  file.flush();
  const auto refused = write(crooked, temporary.path() / "out");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("rope_freqs.weight has no place"));
}

TEST(Convert, WhatAFileSaysOfItselfComesBack) {
  const TemporaryFolder temporary;
  const fs::path first = temporary.path() / "first.gguf";
  format::GgufWriter writer;
  const fs::path golden = golden_folder() / "gqa" / "model.gguf";
  const auto gguf = format::Gguf::open(golden);
  writer.copy_metadata(*gguf);
  writer.set("general.name", std::string("A \"name\""));
  writer.set("general.license", std::string("apache-2.0"));
  writer.set("general.languages", std::vector<std::string>{"en", "de"});
  writer.set("general.base_model.count", uint32_t{1});
  writer.set("general.sampling.temp", 0.7F);
  writer.set("general.file_type", uint32_t{0});
  for (const format::NamedTensor& tensor : gguf->tensors()) ASSERT_TRUE(writer.add_tensor(tensor.name, tensor.view));
  ASSERT_TRUE(writer.write(first));
  written(first, temporary.path() / "folder");
  written(temporary.path() / "folder", temporary.path() / "again.gguf");
  const auto again = format::Gguf::open(temporary.path() / "again.gguf");
  ASSERT_TRUE(again);
  const auto before = format::Gguf::open(first);
  for (const format::GgufEntry& entry : before->metadata()) {
    if (!entry.key.starts_with("general.")) continue;
    const format::GgufValue* found = again->find(entry.key);
    ASSERT_NE(found, nullptr) << entry.key;
    EXPECT_EQ(found->type(), entry.value.type()) << entry.key;
    if (entry.key != "general.file_type") {
      EXPECT_TRUE(std::ranges::equal(found->bytes(), entry.value.bytes())) << entry.key;
    }
  }
}

// A family that stores its inputs first keeps blocks with outputs first; the numbers lie along the inputs.
TEST(Convert, BlocksOfAFamilyWithInputsFirstComeBack) {
  const TemporaryFolder temporary;
  for (const char* name : {"gpt2"}) {
    const fs::path model = folder_alone(golden_folder() / name, temporary);
    const fs::path gguf = temporary.path() / (std::string(name) + ".gguf");
    const fs::path folder = temporary.path() / name;
    const fs::path again = temporary.path() / (std::string(name) + "-again.gguf");
    written(model, gguf, "L*:q8_0");
    written(gguf, folder);
    written(folder, again);
    expect_bytes(opened(again), opened(gguf));
    EXPECT_EQ(logits_of(folder, name), logits_of(gguf, name)) << name;
    const fs::path direct = temporary.path() / (std::string(name) + "-direct");
    written(model, direct, "L*:q8_0");
    EXPECT_EQ(logits_of(direct, name), logits_of(gguf, name)) << name;
  }
}

TEST(Split, PartsAreReadAsOneModel) {
  const TemporaryFolder temporary;
  const fs::path first = golden_folder() / "gqa" / "model.gguf";
  const CompressReport gguf = written(first, temporary.path() / "parts.gguf", "", 60000);
  EXPECT_GT(gguf.files.size(), 2U);
  EXPECT_THAT(gguf.files.front(), HasSubstr("parts-00001-of-0000"));
  expect_bytes(opened(gguf.files.front()), opened(first));
  written(first, temporary.path() / "shards", "", 60000);
  EXPECT_TRUE(fs::exists(temporary.path() / "shards" / "model.safetensors.index.json"));
  written(temporary.path() / "shards", temporary.path() / "again.gguf");
  expect_bytes(opened(temporary.path() / "again.gguf"), opened(first));
}

class EveryCodec : public testing::TestWithParam<std::string> {};

// What compress stores and what the codec makes of the weights when they are loaded are the same bits.
TEST_P(EveryCodec, LoadedOrStoredGivesTheSameLogits) {
  struct Case {
    std::string name;
    fs::path model;
    fs::path out;  ///< a container that turns the same pairs of queries and keys, so that all sums run alike
  };
  const TemporaryFolder temporary;
  const std::string recipe = fmt::format("L*:{0} embed:{0}", GetParam());
  const Case cases[] = {{"codec", golden_folder() / "codec" / "model.gguf", "codec.gguf"},
                        {"gqa", folder_alone(golden_folder() / "gqa", temporary), "gqa"},
                        {"gqa", golden_folder() / "gqa" / "model.gguf", "gqa.gguf"},
                        {"gpt2", folder_alone(golden_folder() / "gpt2", temporary), "gpt2.gguf"},
                        {"qwen3moe", folder_alone(golden_folder() / "qwen3moe", temporary), "qwen3moe.gguf"},
                        {"mixtral", folder_alone(golden_folder() / "mixtral", temporary), "mixtral"}};
  for (const auto& [name, model, file] : cases) {
    const fs::path out = temporary.path() / file;
    EXPECT_EQ(written(model, out, recipe).recipe, recipe);
    EXPECT_EQ(logits_of(out, name), logits_of(model, name, recipe + " kv:f32")) << name;
    EXPECT_EQ(name == "codec", name == "codec" && logits_of(out, name) != logits_of(model, name)) << "whole blocks";
    if (const ModelFiles files = opened(out); files.gguf() != nullptr) {
      EXPECT_EQ(files.config()["lamina.recipe"], recipe);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryCodec,
                         testing::Values("f16", "q8_0", "q6_k", "q4_k", "q4_0", "iq4_nl", "mxfp4", "cb2"),
                         [](const auto& info) { return info.param; });

TEST(Recipe, ActsOnWhatItSelects) {
  const TemporaryFolder temporary;
  const fs::path out = temporary.path() / "out.gguf";
  const CompressReport report =
      written(golden_folder() / "codec" / "model.gguf", out, "L0:q8_0 L1-.attn:q4_0 L1-.down:q5_0 embed:f16 head:q5_1");
  std::map<std::string, std::string> after;
  for (const TensorReport& tensor : report.tensors) {
    after[tensor.name] = tensor.after;
    EXPECT_TRUE(tensor.before != tensor.after || tensor.rmse == 0) << tensor.name;
    EXPECT_GT(tensor.bytes, 0) << tensor.name;
  }
  EXPECT_EQ(after["blk.0.attn_q.weight"], "q8_0");
  EXPECT_EQ(after["blk.0.ffn_down.weight"], "q8_0");
  EXPECT_EQ(after["blk.1.attn_q.weight"], "q4_0");
  EXPECT_EQ(after["blk.1.ffn_down.weight"], "q5_0");
  EXPECT_EQ(after["blk.1.ffn_up.weight"],
            opened(golden_folder() / "codec" / "model.gguf").find("blk.1.ffn_up.weight")->format->name);
  EXPECT_EQ(after["blk.1.attn_norm.weight"], "f32");
  EXPECT_EQ(after["token_embd.weight"], "f16");
  EXPECT_EQ(after["output.weight"], "q5_1");
}

TEST(Recipe, RefusesWhatCannotBeDone) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "mha_tied" / "model.gguf";
  const auto message = [&](const std::string& recipe) {
    const auto report = write(model, temporary.path() / "out.gguf", recipe);
    EXPECT_FALSE(report) << recipe;
    return report ? "" : report.error().text();
  };
  EXPECT_THAT(message("route:0-1"), HasSubstr("character 7: list changes the run"));
  EXPECT_THAT(message("L*:drop"), HasSubstr("no layer is left"));
  EXPECT_THAT(message("L*.cross:drop"), HasSubstr("removes nothing"));
  EXPECT_THAT(message("L*.attn:drop(count=1)"), HasSubstr("--stats"));
  EXPECT_THAT(message("L9:drop"), HasSubstr("layer 9: the model has"));
  EXPECT_THAT(message("head:q8_0"), HasSubstr("embed:q8_0 would"));
  EXPECT_THAT(message("L99:q8_0"), HasSubstr("layer 99: the model has"));
  EXPECT_THAT(message("L*:q9_9"), HasSubstr("unknown technique 'q9_9'"));
  EXPECT_THAT(message("L*:f8_e4m3"), HasSubstr("GGUF has no type for f8_e4m3"));
  EXPECT_TRUE(fs::is_empty(temporary.path()));
}

TEST(Recipe, RowsThatBlocksDoNotDivideFallBackWithANote) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const CompressReport report = written(model, temporary.path() / "out.gguf", "L*:q4_k");
  ASSERT_FALSE(report.notes.empty());
  EXPECT_THAT(report.notes.front(), HasSubstr("instead of q4_k"));
}

TEST(Output, IsNeverReplacedUnasked) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa" / "model.gguf";
  const fs::path out = temporary.path() / "out.gguf";
  std::ofstream(out) << "mine";
  const auto refused = write(model, out);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("--force"));
  EXPECT_EQ(fs::file_size(out), 4U);
  EXPECT_TRUE(write(model, out, "", 0, true));
  EXPECT_GT(fs::file_size(out), 4U);
  fs::create_directory(temporary.path() / "photos");
  std::ofstream(temporary.path() / "photos" / "cat.jpg") << "cat";
  EXPECT_FALSE(write(model, temporary.path() / "photos", "", 0, true)) << "not a model's folder";
  EXPECT_TRUE(fs::exists(temporary.path() / "photos" / "cat.jpg"));
}

TEST(Output, StaysOutOfTheModelsFolder) {
  const TemporaryFolder temporary;
  const fs::path folder = folder_alone(golden_folder() / "gqa", temporary);
  for (const fs::path& out : {folder / "x.gguf", folder / "sub", folder, temporary.path()}) {
    EXPECT_FALSE(write(folder, out, "", 0, true)) << out;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2);
  const auto missing = write(folder, temporary.path() / "no" / "such" / "folder.gguf");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, core::ErrorCode::kIo);
}

/// A copy of a golden folder in which one number of a tensor is not a number.
fs::path with_nan(const TemporaryFolder& temporary, const std::string& tensor, int64_t element) {
  const fs::path folder = folder_alone(golden_folder() / "gqa", temporary);
  const ModelFiles files = opened(golden_folder() / "gqa");
  const core::TensorView& view = *files.find(tensor);
  std::fstream file(folder / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  const std::string bytes(reinterpret_cast<const char*>(view.data), static_cast<size_t>(view.bytes()));
  const size_t at = text.find(bytes);
  EXPECT_NE(at, std::string::npos);
  const uint16_t nan = 0x7fc0;
  file.seekp(static_cast<std::streamoff>(at) + element * 2);
  file.write(reinterpret_cast<const char*>(&nan), 2);
  return folder;
}

TEST(Numbers, ThatAreNotFiniteAreNamed) {
  const TemporaryFolder temporary;
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  const int64_t columns = opened(golden_folder() / "gqa").find(name)->columns();
  const fs::path folder = with_nan(temporary, name, 3 * columns + 5);
  const auto report = write(folder, temporary.path() / "out.gguf", "L*:q8_0");
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().text(), HasSubstr("blk.1.ffn_up.weight: row 3, number 5: is nan"));
  EXPECT_FALSE(fs::exists(temporary.path() / "out.gguf"));
  EXPECT_EQ(std::distance(fs::directory_iterator(temporary.path()), {}), 1) << "the temporary folder is gone";
  EXPECT_THROW(logits_of(folder, "gqa", "L*:q8_0 kv:f32"), std::runtime_error);
}

}  // namespace
}  // namespace lamina::compress

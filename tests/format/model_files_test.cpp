#include "format/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "format/gguf_writer.h"
#include "format/python_json.h"

namespace lamina::format {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::filesystem::path& path) {
  const auto files = ModelFiles::open(path);
  return files ? "" : files.error().text();
}

void copy_golden(std::string_view name, const std::filesystem::path& to) {
  std::filesystem::copy_file(golden_file(name), to);
}

TEST(PythonJson, ReadsInfinitiesAsBoundsThatNothingReaches) {
  const auto read = [](const char* text) { return parse_python_json(text, "c.json").value(); };
  EXPECT_EQ(read(R"({"a": [0.0, Infinity], "b": -Infinity})"), nlohmann::json({{"a", {0.0, 1e308}}, {"b", -1e308}}));
  EXPECT_EQ(read(R"({"a": {"__float__": "Infinity"}, "b": [{"__float__": "-Infinity"}]})"),
            nlohmann::json({{"a", 1e308}, {"b", {-1e308}}}));
  EXPECT_EQ(read(R"(["Infinity", "\"Infinity", "\\", Infinity])"),
            nlohmann::json({"Infinity", "\"Infinity", "\\", 1e308}));
  EXPECT_EQ(read(R"({"__float__": "NaN"})"), nlohmann::json({{"__float__", "NaN"}}));
  for (const char* text : {"Infinit", "NaN", "[Infinity", "\"\\", "1Infinity"}) {
    EXPECT_FALSE(parse_python_json(text, "c.json")) << text;
  }
}

TEST(ModelFiles, OpensGguf) {
  auto opened = ModelFiles::open(golden_file("package.gguf"));
  ASSERT_TRUE(opened) << opened.error().text();
  const ModelFiles files = std::move(*opened);
  EXPECT_EQ(files.container(), Container::kGguf);
  ASSERT_NE(files.gguf(), nullptr);
  const nlohmann::json& config = files.config();
  EXPECT_EQ(config["general.architecture"], "tiny");
  EXPECT_EQ(config["t.uint64"], UINT64_MAX);
  EXPECT_EQ(config["t.int64"], INT64_MIN);
  EXPECT_EQ(config["t.float64"], 0.1);
  EXPECT_EQ(config["t.bool"], true);
  EXPECT_EQ(config["t.ints"], nlohmann::json({1, -2, 3}));
  EXPECT_EQ(config["t.bools"], nlohmann::json({true, false}));
  EXPECT_FALSE(config.contains("t.strings"));
  ASSERT_NE(files.find("blk.0.q8"), nullptr);
  EXPECT_TRUE(files.weight("blk.0.q8"));
  EXPECT_EQ(files.tensors().size(), 3u);
  const auto absent = files.weight("absent");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, core::ErrorCode::kNotFound);
  const auto text = files.read_text("tokenizer.json");
  ASSERT_TRUE(text);
  EXPECT_FALSE(text->has_value());
}

TEST(ModelFiles, LeavesLongArraysOutAndRepairsText) {
  const TemporaryFolder folder;
  GgufWriter writer;
  writer.set("short", std::vector<int32_t>(4096, 1));
  writer.set("long", std::vector<int32_t>(4097, 1));
  writer.set("text", "a\xff");
  ASSERT_TRUE(writer.write(folder / "m.gguf"));
  const auto files = ModelFiles::open(folder.path());
  ASSERT_TRUE(files) << files.error().text();
  EXPECT_TRUE(files->config().contains("short"));
  EXPECT_FALSE(files->config().contains("long"));
  EXPECT_EQ(files->config()["text"], "a\xef\xbf\xbd");
  EXPECT_FALSE(files->config().dump().empty());
  EXPECT_EQ(files->path(), folder / "m.gguf");
}

TEST(ModelFiles, OpensAFolder) {
  const TemporaryFolder folder;
  write_file(folder / "config.json", R"({"model_type":"tiny","n":3})");
  write_file(folder / "tokenizer.json", "{}");
  copy_golden("package.safetensors", folder / "model.safetensors");
  auto opened = ModelFiles::open(folder.path());
  ASSERT_TRUE(opened) << opened.error().text();
  const ModelFiles files = std::move(*opened);
  EXPECT_EQ(files.container(), Container::kHuggingFace);
  EXPECT_EQ(files.gguf(), nullptr);
  EXPECT_EQ(files.config()["n"], 3);
  EXPECT_TRUE(files.weight("wide"));
  const auto bytes = files.weight("bytes");
  ASSERT_FALSE(bytes);
  EXPECT_THAT(bytes.error().message, HasSubstr("tensor bytes is stored as u8, which no codec decodes"));
  EXPECT_NE(files.find("bytes"), nullptr);
  files.release(*files.find("wide"));
  EXPECT_EQ((*files.read_text("tokenizer.json")).value(), "{}");
  EXPECT_FALSE((*files.read_text("absent.json")).has_value());
  for (const char* name : {"", ".", "..", "../x", "/etc/passwd", "a/b"}) {
    EXPECT_FALSE(files.read_text(name).has_value()) << name;
  }
}

TEST(ModelFiles, SaysWhatAFolderLacks) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(folder / "absent"), HasSubstr("cannot be opened"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("holds no model"));
  write_file(folder / "config.json", "{\"a\":1,}");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("config.json: JSON at 1:8"));
  write_file(folder / "config.json", "[]");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("must be a JSON object"));
  write_file(folder / "config.json", "{}");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("no .safetensors file"));
  write_file(folder / "pytorch_model.bin", "\x80\x02}q");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("pytorch_model.bin, a pickle"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("save it as model.safetensors"));
  copy_golden("package.safetensors", folder / "a.safetensors");
  EXPECT_EQ(error_of(folder.path()), "") << "the only one";
  copy_golden("package.safetensors", folder / "b.safetensors");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("several .safetensors files"));
  EXPECT_THAT(error_of(folder / "a.safetensors"), HasSubstr("name the folder"));
}

TEST(ModelFiles, ChoosesAmongGgufFiles) {
  const TemporaryFolder folder;
  copy_golden("package.gguf", folder / "m-00001-of-00002.gguf");
  copy_golden("package.gguf", folder / "m-00002-of-00002.gguf");
  EXPECT_EQ(error_of(folder.path()), "") << "parts count once";
  copy_golden("package.gguf", folder / "n.gguf");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("several models, name one: m-00001-of-00002.gguf, n.gguf"));
}

}  // namespace
}  // namespace lamina::format

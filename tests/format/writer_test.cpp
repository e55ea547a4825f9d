#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/codec.h"
#include "files.h"
#include "format/gguf_writer.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"

namespace lamina::format {
namespace {

using ::testing::HasSubstr;

core::TensorView view_of(std::string_view codec, std::initializer_list<int64_t> shape, const void* data) {
  core::TensorView view;
  view.format = &codec::find_codec(codec)->format;
  view.rank = static_cast<int>(shape.size());
  std::ranges::copy(shape, view.shape.begin());
  view.data = static_cast<const std::byte*>(data);
  return view;
}

/// Gives `tensor`'s bytes in pieces of `step`.
TensorSource in_pieces(const core::TensorView& tensor, size_t step) {
  return [tensor, step](const PutBytes& put) -> core::Status {
    std::span<const std::byte> rest(tensor.data, static_cast<size_t>(tensor.bytes()));
    while (!rest.empty()) {
      const auto piece = rest.first(std::min(step, rest.size()));
      LAMINA_CHECK_OK(put(piece));
      rest = rest.subspan(piece.size());
    }
    return {};
  };
}

/// The writer's values, set by hand to what tools/make_format_golden.py gives the package.
void set_golden_metadata(GgufWriter& writer) {
  writer.set("general.architecture", "tiny");
  writer.set("t.uint8", uint8_t{200});
  writer.set("t.int8", int8_t{-100});
  writer.set("t.uint16", uint16_t{60000});
  writer.set("t.int16", int16_t{-30000});
  writer.set("t.uint32", uint32_t{4000000000u});
  writer.set("t.int32", int32_t{-2000000000});
  writer.set("t.float32", 0.1f);
  writer.set("t.uint64", UINT64_MAX);
  writer.set("t.int64", INT64_MIN);
  writer.set("t.float64", 0.1);
  writer.set("t.bool", true);
  writer.set("t.string", std::string("zwölf €"));
  writer.set("t.strings", std::vector<std::string>{"a", "", "ccc"});
  writer.set("t.ints", std::vector<int32_t>{1, -2, 3});
  writer.set("t.floats", std::vector<float>{0.5f, -0.25f});
  writer.set("t.bools", std::vector<bool>{true, false});
}

TEST(GgufWriter, WritesTheBytesThatThePackageWrites) {
  const auto golden = Gguf::open(golden_file("package.gguf"));
  ASSERT_TRUE(golden);
  GgufWriter writer;
  set_golden_metadata(writer);
  for (const auto& [name, view] : golden->tensors()) {
    ASSERT_TRUE(writer.add_tensor(name, view, in_pieces(view, 7)));
  }
  const TemporaryFolder folder;
  const auto status = writer.write(folder / "own.gguf");
  ASSERT_TRUE(status) << status.error().text();
  EXPECT_EQ(read_file(folder / "own.gguf"), read_file(golden_file("package.gguf")));
  EXPECT_EQ(folder.files(), 1u) << "no temporary file is left";
}

TEST(GgufWriter, CopiesMetadataAndKeepsAnotherAlignment) {
  const auto golden = Gguf::open(golden_file("package.gguf"));
  ASSERT_TRUE(golden);
  GgufWriter writer(64);
  writer.copy_metadata(*golden);
  writer.set("t.string", "changed");
  writer.erase("t.bool");
  for (const auto& [name, view] : golden->tensors()) ASSERT_TRUE(writer.add_tensor(name, view));
  const TemporaryFolder folder;
  ASSERT_TRUE(writer.write(folder / "own.gguf"));
  const auto own = Gguf::open(folder / "own.gguf");
  ASSERT_TRUE(own) << own.error().text();
  EXPECT_EQ(own->alignment(), 64u);
  EXPECT_EQ(*own->get<std::string>("t.string"), "changed");
  EXPECT_EQ(own->find("t.bool"), nullptr);
  EXPECT_EQ(*own->get<std::vector<std::string>>("t.strings"), *golden->get<std::vector<std::string>>("t.strings"));
  EXPECT_EQ(*own->get<std::vector<float>>("t.floats"), *golden->get<std::vector<float>>("t.floats"));
  for (const auto& [name, view] : golden->tensors()) {
    const core::TensorView* copy = own->find_tensor(name);
    ASSERT_NE(copy, nullptr);
    EXPECT_EQ(copy->shape, view.shape);
    EXPECT_EQ(std::memcmp(copy->data, view.data, static_cast<size_t>(view.bytes())), 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(copy->data) % 64, 0u);
  }
}

TEST(GgufWriter, RefusesBadTensorsAndLeavesNoFile) {
  const TemporaryFolder folder;
  const float values[64] = {};
  GgufWriter writer;
  EXPECT_FALSE(writer.add_tensor("", view_of("f32", {2}, values)));
  EXPECT_FALSE(writer.add_tensor("a", view_of("f32", {2, 0}, values)));
  EXPECT_FALSE(writer.add_tensor("a", view_of("q8_0", {2, 33}, values)));
  ASSERT_TRUE(writer.add_tensor("a", view_of("f32", {2}, values)));
  EXPECT_FALSE(writer.add_tensor("a", view_of("f32", {2}, values)));
  const auto view = view_of("f32", {2}, values);
  ASSERT_TRUE(writer.add_tensor("short", view, [&](const PutBytes& put) { return put({view.data, 4}); }));
  const auto too_few = writer.write(folder / "x.gguf");
  ASSERT_FALSE(too_few);
  EXPECT_THAT(too_few.error().text(), HasSubstr("short: its source gives 4 bytes; its shape has 8"));
  GgufWriter other;
  ASSERT_TRUE(other.add_tensor("long", view, [&](const PutBytes& put) { return put({view.data, 12}); }));
  const auto too_many = other.write(folder / "x.gguf");
  ASSERT_FALSE(too_many);
  EXPECT_THAT(too_many.error().text(), HasSubstr("gives more than the 8 bytes"));
  EXPECT_EQ(folder.files(), 0u);
  const auto nowhere = GgufWriter().write(folder / "absent/x.gguf");
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, core::ErrorCode::kIo);
}

TEST(SafetensorsWriter, WritesTheBytesThatThePackageWrites) {
  const auto golden = Safetensors::open(golden_file("package.safetensors"));
  ASSERT_TRUE(golden) << golden.error().text();
  const TemporaryFolder folder;
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  for (const char* name : {"bytes", "wide", "half"}) {
    ASSERT_TRUE(writer.add_tensor(name, *golden->find_tensor(name)));
  }
  ASSERT_TRUE(writer.write(folder / "own.safetensors"));
  EXPECT_EQ(read_file(folder / "own.safetensors"), read_file(golden_file("package.safetensors")));
  EXPECT_FALSE(writer.add_tensor("wide", *golden->find_tensor("wide")));
  const core::NumberFormat unknown{"q9_9", 1, 5};
  core::TensorView view = *golden->find_tensor("wide");
  view.format = &unknown;
  const auto block = writer.add_tensor("unknown", view);
  ASSERT_FALSE(block);
  EXPECT_THAT(block.error().text(), HasSubstr("safetensors has no dtype for q9_9"));
}

TEST(SafetensorsWriter, KeepsBlocksAsBytesThatItsReaderTakesBack) {
  const TemporaryFolder folder;
  std::vector<uint8_t> blocks(4 * 2 * 34);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint8_t>(7 * i + 1);
  const float numbers[3] = {1, 2, 3};
  SafetensorsWriter writer;
  ASSERT_TRUE(writer.add_tensor("blocks", view_of("q8_0", {4, 64}, blocks.data())));
  ASSERT_TRUE(writer.add_tensor("numbers", view_of("f32", {3}, numbers)));
  ASSERT_TRUE(writer.write(folder / "own.safetensors"));
  const std::string text = read_file(folder / "own.safetensors");
  EXPECT_THAT(text, HasSubstr(R"("blocks":{"dtype":"U8","shape":[4,68],)")) << "what other readers see";
  const auto own = Safetensors::open(folder / "own.safetensors");
  ASSERT_TRUE(own) << own.error().text();
  const core::TensorView* found = own->find_tensor("blocks");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->format->name, "q8_0");
  EXPECT_EQ(found->columns(), 64);
  EXPECT_EQ(std::memcmp(found->data, blocks.data(), blocks.size()), 0);
}

TEST(SafetensorsWriter, CutsFoldersIntoShards) {
  const TemporaryFolder folder;
  const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  SafetensorsWriter writer;
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(writer.add_tensor(name, view_of("f32", {8}, numbers)));
  ASSERT_TRUE(writer.write_folder(folder.path(), 70));
  EXPECT_EQ(folder.files(), 3U) << "two shards and the index";
  const auto own = Safetensors::open(folder / "model.safetensors.index.json");
  ASSERT_TRUE(own) << own.error().text();
  EXPECT_EQ(own->tensors().size(), 3U);
  EXPECT_THAT(read_file(folder / "model.safetensors.index.json"), HasSubstr(R"("total_size": 96)"));
}

TEST(GgufWriter, CutsFilesIntoParts) {
  const TemporaryFolder folder;
  const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  GgufWriter writer;
  writer.set("general.architecture", "x");
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(writer.add_tensor(name, view_of("f32", {8}, numbers)));
  const auto whole = writer.write_parts(folder / "whole.gguf", 0);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->size(), 1U);
  const auto parts = writer.write_parts(folder / "cut.gguf", 40);
  ASSERT_TRUE(parts) << parts.error().text();
  ASSERT_EQ(parts->size(), 3U);
  EXPECT_EQ(parts->at(1).filename(), "cut-00002-of-00003.gguf");
  const auto own = Gguf::open(parts->front());
  ASSERT_TRUE(own) << own.error().text();
  EXPECT_EQ(own->tensors().size(), 3U);
  EXPECT_EQ(*own->get<uint16_t>("split.count"), 3);
  EXPECT_EQ(*own->get<int32_t>("split.tensors.count"), 3);
  EXPECT_EQ(*own->get<std::string>("general.architecture"), "x");
}

}  // namespace
}  // namespace lamina::format

#include "format/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "files.h"

namespace lamina::format {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A file with this header and that many bytes of data.
std::string file_with(std::string_view header, size_t data_bytes) {
  std::string text = Bytes().u64(header.size()).raw(header).text;
  for (size_t i = 0; i < data_bytes; ++i) text += static_cast<char>(i);
  return text;
}

std::string error_of(const std::string& text) {
  const auto file = Safetensors::from_bytes(bytes_of(text), "x.safetensors");
  return file ? "" : file.error().text();
}

/// The error that a single tensor "a" gives, with 8 bytes of data.
std::string error_of_entry(std::string_view entry) {
  return error_of(file_with(fmt::format(R"({{"a":{}}})", entry), 8));
}

TEST(Safetensors, ReadsWhatThePackageWrites) {
  auto opened = Safetensors::open(golden_file("package.safetensors"));
  ASSERT_TRUE(opened) << opened.error().text();
  const Safetensors file = std::move(*opened);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "wide") << "file order";
  const core::TensorView* wide = file.find_tensor("wide");
  ASSERT_NE(wide, nullptr);
  EXPECT_EQ(wide->format, &codec::find_codec("f32")->format);
  EXPECT_EQ(wide->rank, 2);
  EXPECT_THAT(wide->shape, ElementsAre(2, 3, 1, 1));
  float last = 0;
  std::memcpy(&last, wide->row(1) + 8, 4);
  EXPECT_EQ(last, 5.0f);
  EXPECT_EQ(codec::codec_of(*file.find_tensor("bytes")->format), nullptr);
  EXPECT_EQ(file.find_tensor("bytes")->format->name, "u8");
  EXPECT_EQ(file.find_tensor("absent"), nullptr);
  EXPECT_EQ(file.file_bytes(), static_cast<int64_t>(std::filesystem::file_size(golden_file("package.safetensors"))));
  file.release(*wide);
}

TEST(Safetensors, ACutFileIsAnErrorAtEveryByte) {
  const std::string whole = read_file(golden_file("package.safetensors"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    ASSERT_FALSE(Safetensors::from_bytes(bytes_of(cut)).has_value()) << size;
  }
  EXPECT_TRUE(Safetensors::from_bytes(bytes_of(whole)));
}

TEST(Safetensors, AnyChangedByteIsReadOrRefusedButDoesNoHarm) {
  const std::string whole = read_file(golden_file("package.safetensors"));
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\0', '0', '9', '"', '}', '\xff'}) {
      std::string changed = whole;
      changed[at] = value;
      const auto file = Safetensors::from_bytes(bytes_of(changed));
      if (!file) continue;
      for (const auto& [name, view] : file->tensors()) {
        ASSERT_LE(view.bytes(), static_cast<int64_t>(changed.size()));
      }
    }
  }
}

TEST(Safetensors, RefusesBlocksThatDoNotFit) {
  const auto with = [](const std::string& blocks) {
    return error_of(file_with(R"({"__metadata__":{"lamina.blocks":")" + blocks +
                                  R"("},"a":{"dtype":"U8","shape":[34],"data_offsets":[0,34]}})",
                              34));
  };
  EXPECT_EQ(with(R"({\"a\":{\"codec\":\"q8_0\",\"shape\":[32]}})"), "");
  EXPECT_EQ(with(R"({\"b\":{\"codec\":\"q8_0\",\"shape\":[32]}})"), "") << "of no tensor here";
  EXPECT_THAT(with("[]"), HasSubstr("lamina.blocks must be an object"));
  EXPECT_THAT(with("{"), HasSubstr("JSON at"));
  EXPECT_THAT(with(R"({\"a\":7})"), HasSubstr("unknown codec"));
  EXPECT_THAT(with(R"({\"a\":{\"codec\":\"q9\",\"shape\":[32]}})"), HasSubstr("unknown codec"));
  EXPECT_THAT(with(R"({\"a\":{\"codec\":\"q8_0\"}})"), HasSubstr("\"shape\" must be"));
  EXPECT_THAT(with(R"({\"a\":{\"codec\":\"q8_0\",\"shape\":[64]}})"), HasSubstr("are not the blocks"));
  EXPECT_THAT(with(R"({\"a\":{\"codec\":\"q8_0\",\"shape\":[33]}})"), HasSubstr("are not the blocks"));
}

TEST(Safetensors, RefusesBadHeaders) {
  EXPECT_THAT(error_of(""), HasSubstr("too short"));
  EXPECT_THAT(error_of(Bytes().u64(UINT64_MAX).raw("{}").text), HasSubstr("declares a header of 18446744073709551615"));
  EXPECT_THAT(error_of(Bytes().u64(3).raw("{}").text), HasSubstr("declares a header of 3 bytes"));
  EXPECT_THAT(error_of(file_with("[]", 0)), HasSubstr("must be a JSON object"));
  EXPECT_THAT(error_of(file_with("{", 0)), HasSubstr("JSON at 1:"));
  EXPECT_THAT(error_of(file_with(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("__metadata__ must map text to text"));
  EXPECT_EQ(error_of(file_with("{}", 0)), "");
  EXPECT_EQ(error_of(file_with("{}     ", 0)), "");
}

TEST(Safetensors, RefusesBadEntries) {
  EXPECT_EQ(error_of_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), "");
  EXPECT_EQ(error_of_entry(R"({"dtype":"F64","shape":[],"data_offsets":[0,8]})"), "") << "a scalar";
  EXPECT_THAT(error_of_entry("1"), HasSubstr("tensor a: an object with"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[2]})"), HasSubstr("data_offsets"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"), HasSubstr("\"shape\" must be"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), HasSubstr("\"shape\" must"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), HasSubstr("\"shape\" must"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F4","shape":[2],"data_offsets":[0,8]})"), HasSubstr("unknown dtype F4"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), HasSubstr("do not agree with 3"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), HasSubstr("do not agree"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"U8","shape":[1,1,1,1,8],"data_offsets":[0,8]})"), HasSubstr("5 dimensions"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})"),
              HasSubstr("can be counted"));
  EXPECT_THAT(error_of_entry(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"),
              HasSubstr("do not agree"));
  EXPECT_THAT(error_of(file_with(R"({"a":1,"a":2})", 0)), HasSubstr("\"a\" appears twice"));
}

TEST(Safetensors, RefusesOverlapHolesAndOutOfFileRanges) {
  const auto two = [](const char* first, const char* second, size_t data) {
    return error_of(file_with(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                                          R"("b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                                          first, second),
                              data));
  };
  EXPECT_EQ(two("[0,4]", "[4,8]", 8), "");
  EXPECT_EQ(two("[4,8]", "[0,4]", 8), "");
  EXPECT_THAT(two("[0,4]", "[3,7]", 7), HasSubstr("tensor b starts at byte 3 of the data; 4 expected (it overlaps"));
  EXPECT_THAT(two("[0,4]", "[0,4]", 4), HasSubstr("it overlaps"));
  EXPECT_THAT(two("[0,4]", "[5,9]", 9), HasSubstr("there is a hole"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 7), HasSubstr("tensor b ends at byte 8 of the data, but the file holds 7"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 9), HasSubstr("1 bytes after the last tensor"));
}

TEST(Safetensors, CopiesWhatTheFileDoesNotAlign) {
  // A header of 69 bytes puts the numbers at an odd address.
  std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  header.resize(69, ' ');
  std::string text = Bytes().u64(header.size()).raw(header).number(1.5f).number(-2.5f).text;
  auto file = Safetensors::from_bytes(bytes_of(text));
  ASSERT_TRUE(file);
  const core::TensorView* view = file->find_tensor("a");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % 4, 0u);
  file->release(*view);
  EXPECT_EQ(reinterpret_cast<const float*>(view->data)[1], -2.5f) << "release leaves copies alone";
}

std::string shard(std::string_view name) {
  return file_with(fmt::format(R"({{"{}":{{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}}})", name), 8);
}

TEST(Safetensors, OpensShards) {
  const TemporaryFolder folder;
  const auto open_with = [&](std::string_view index) {
    write_file(folder / "model.safetensors.index.json", index);
    const auto file = Safetensors::open(folder / "model.safetensors.index.json");
    return file ? fmt::format("{} tensors", file->tensors().size()) : file.error().text();
  };
  write_file(folder / "m-1.safetensors", shard("a"));
  write_file(folder / "m-2.safetensors", shard("b"));
  EXPECT_EQ(open_with(R"({"metadata":{},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})"), "2 tensors");
  EXPECT_THAT(open_with(R"({"weight_map":{"a":"m-1.safetensors","c":"m-2.safetensors"}})"),
              HasSubstr("tensor c should be in m-2.safetensors"));
  EXPECT_THAT(open_with(R"({"weight_map":{"a":"m-3.safetensors"}})"), HasSubstr("m-3.safetensors: cannot be opened"));
  EXPECT_THAT(open_with(R"({"weight_map":{"a":"../m-1.safetensors"}})"), HasSubstr("not a plain"));
  EXPECT_THAT(open_with(R"({"weight_map":{"a":"/etc/passwd"}})"), HasSubstr("not a plain"));
  EXPECT_THAT(open_with(R"({"weight_map":{"a":7}})"), HasSubstr("not a plain"));
  EXPECT_THAT(open_with(R"({"weight_map":[]})"), HasSubstr("weight_map"));
  write_file(folder / "m-2.safetensors", shard("a"));
  EXPECT_THAT(open_with(R"({"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})"),
              HasSubstr("tensor a is also in another shard"));
}

}  // namespace
}  // namespace lamina::format

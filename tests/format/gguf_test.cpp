#include "format/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "files.h"

namespace lamina::format {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Tensor {
  std::string name;
  std::vector<uint64_t> dims;  // innermost first, as in the file
  uint32_t type = 0;
  uint64_t offset = 0;
};

/// A file with these tensors, no metadata, and that many bytes of data.
std::string file_with(const std::vector<Tensor>& tensors, size_t data_bytes) {
  Bytes bytes = gguf_start(tensors.size(), 0);
  for (const Tensor& tensor : tensors) {
    bytes.string(tensor.name).u32(static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) bytes.u64(dim);
    bytes.u32(tensor.type).u64(tensor.offset);
  }
  bytes.pad(32);
  bytes.text.append(data_bytes, '\1');
  return bytes.text;
}

/// A file with one metadata key "k" whose type and payload are given.
std::string file_with_value(uint32_t type, const Bytes& payload) {
  return gguf_start(0, 1).string("k").u32(type).raw(payload.text).text;
}

/// The message of the error that reading gives, or "" when there is none.
std::string error_of(const std::string& text) {
  const auto gguf = Gguf::from_bytes(bytes_of(text), "x.gguf");
  return gguf ? "" : gguf.error().text();
}

core::ErrorCode code_of(const std::string& text) {
  const auto gguf = Gguf::from_bytes(bytes_of(text), "x.gguf");
  EXPECT_FALSE(gguf.has_value());
  return gguf ? core::ErrorCode::kCancelled : gguf.error().code;
}

TEST(Gguf, ReadsWhatThePackageWrites) {
  const auto opened = Gguf::open(golden_file("package.gguf"));
  ASSERT_TRUE(opened) << opened.error().text();
  const Gguf& gguf = *opened;
  EXPECT_EQ(gguf.version(), 3u);
  EXPECT_EQ(*gguf.get<std::string>("general.architecture"), "tiny");
  EXPECT_EQ(*gguf.get<uint8_t>("t.uint8"), 200);
  EXPECT_EQ(*gguf.get<int8_t>("t.int8"), -100);
  EXPECT_EQ(*gguf.get<uint16_t>("t.uint16"), 60000);
  EXPECT_EQ(*gguf.get<int16_t>("t.int16"), -30000);
  EXPECT_EQ(*gguf.get<uint32_t>("t.uint32"), 4000000000u);
  EXPECT_EQ(*gguf.get<int32_t>("t.int32"), -2000000000);
  EXPECT_EQ(*gguf.get<float>("t.float32"), 0.1f);
  EXPECT_EQ(*gguf.get<uint64_t>("t.uint64"), UINT64_MAX);
  EXPECT_EQ(*gguf.get<int64_t>("t.int64"), INT64_MIN);
  EXPECT_EQ(*gguf.get<double>("t.float64"), 0.1);
  EXPECT_EQ(*gguf.get<bool>("t.bool"), true);
  EXPECT_EQ(*gguf.get<std::string_view>("t.string"), "zwölf €");
  EXPECT_THAT(*gguf.get<std::vector<std::string_view>>("t.strings"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(*gguf.get<std::vector<int64_t>>("t.ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*gguf.get<std::vector<float>>("t.floats"), ElementsAre(0.5f, -0.25f));
  EXPECT_THAT(*gguf.get<std::vector<bool>>("t.bools"), ElementsAre(true, false));
  ASSERT_EQ(gguf.tensors().size(), 3u);
  const core::TensorView* half = gguf.find_tensor("blk.0.half");
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(half->format->name, "f16");
  EXPECT_EQ(half->rank, 3);
  EXPECT_THAT(half->shape, ElementsAre(2, 3, 4, 1)) << "outermost first";
  const core::TensorView* wide = gguf.find_tensor("token_embd.weight");
  ASSERT_NE(wide, nullptr);
  float last = 0;
  std::memcpy(&last, wide->row(1) + 8, 4);
  EXPECT_EQ(last, 5.0f);
  EXPECT_EQ(gguf.find_tensor("blk.0.q8")->row_bytes(), 34);
  EXPECT_EQ(gguf.file_bytes(), static_cast<int64_t>(std::filesystem::file_size(golden_file("package.gguf"))));
}

TEST(Gguf, StaysValidWhenMoved) {
  auto opened = Gguf::open(golden_file("package.gguf"));
  ASSERT_TRUE(opened);
  const core::TensorView* before = opened->find_tensor("blk.0.q8");
  const Gguf moved = std::move(*opened);
  EXPECT_EQ(moved.find_tensor("blk.0.q8"), before);
  moved.release(*before);
  EXPECT_EQ(*moved.get<std::string>("t.string"), "zwölf €");
}

TEST(Gguf, ConvertsNumbersOnlyWhenTheyFit) {
  const std::string text = file_with_value(4, Bytes().u32(300));
  const auto gguf = Gguf::from_bytes(bytes_of(text), "x.gguf");
  ASSERT_TRUE(gguf);
  EXPECT_EQ(*gguf->get<int64_t>("k"), 300);
  EXPECT_EQ(*gguf->get<double>("k"), 300.0);
  EXPECT_EQ(*gguf->get_or<int>("absent", 7), 7);
  const auto narrow = gguf->get<uint8_t>("k");
  ASSERT_FALSE(narrow);
  EXPECT_THAT(narrow.error().text(), HasSubstr("x.gguf: metadata key k: uint8 expected, the file has uint32"));
  const auto text_wanted = gguf->get_or<std::string>("k", "");
  ASSERT_FALSE(text_wanted);
  EXPECT_THAT(text_wanted.error().message, HasSubstr("string expected, the file has uint32"));
  EXPECT_FALSE(gguf->get<bool>("k"));
  EXPECT_FALSE(gguf->get<std::vector<int>>("k"));
  const auto absent = gguf->get<int>("absent");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, core::ErrorCode::kNotFound);
  EXPECT_EQ(gguf->find("absent"), nullptr);
}

TEST(Gguf, ReadsNestedArraysToABound) {
  const auto nested = [](int depth) {
    Bytes bytes;
    for (int i = 1; i < depth; ++i) bytes.u32(9).u64(1);
    return bytes.u32(5).u64(2).u32(11).u32(12);
  };
  const std::string text = file_with_value(9, nested(3));
  const auto gguf = Gguf::from_bytes(bytes_of(text));
  ASSERT_TRUE(gguf) << gguf.error().text();
  const auto outer = gguf->get<std::vector<GgufValue>>("k");
  ASSERT_TRUE(outer);
  ASSERT_EQ(outer->size(), 1u);
  const auto inner = (*outer)[0].as<std::vector<GgufValue>>();
  ASSERT_TRUE(inner);
  EXPECT_THAT(*(*inner)[0].as<std::vector<int>>(), ElementsAre(11, 12));
  EXPECT_THAT(error_of(file_with_value(9, nested(5))), HasSubstr("nested deeper than 4"));
  EXPECT_THAT(error_of(file_with_value(9, nested(100000))), HasSubstr("nested deeper than 4"));
}

TEST(Gguf, ACutFileIsAnErrorAtEveryByte) {
  const std::string whole = read_file(golden_file("package.gguf"));
  // The last tensor's 68 bytes are padded to 96; only losing the padding costs nothing.
  const size_t needed = whole.size() - 28;
  for (size_t size = 0; size < needed; ++size) {
    const std::string cut = whole.substr(0, size);
    const auto gguf = Gguf::from_bytes(bytes_of(cut), "cut");
    ASSERT_FALSE(gguf.has_value()) << size;
    ASSERT_FALSE(gguf.error().message.empty());
  }
  EXPECT_TRUE(Gguf::from_bytes(bytes_of(whole)));
  EXPECT_TRUE(Gguf::from_bytes(bytes_of(whole).first(needed)));
}

TEST(Gguf, AnyChangedHeaderByteIsReadOrRefusedButDoesNoHarm) {
  const std::string whole = read_file(golden_file("package.gguf"));
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0, 1, 0x7f, 0x80, 0xff}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      const auto gguf = Gguf::from_bytes(bytes_of(changed));
      if (!gguf) continue;
      for (const auto& [name, view] : gguf->tensors()) {
        ASSERT_GE(view.data, bytes_of(changed).data());
        ASSERT_LE(view.data + view.bytes(), bytes_of(changed).data() + changed.size());
      }
    }
  }
}

TEST(Gguf, RefusesImpossibleCountsWithoutAllocating) {
  constexpr uint64_t kHuge = uint64_t{1} << 60;
  EXPECT_THAT(error_of(gguf_start(kHuge, 0).raw(std::string(100, 'x')).text), HasSubstr("tensors are declared"));
  EXPECT_THAT(error_of(gguf_start(0, kHuge).raw(std::string(100, 'x')).text), HasSubstr("metadata keys"));
  EXPECT_THAT(error_of(file_with_value(8, Bytes().u64(kHuge))), HasSubstr("a string of 1152921504606846976 bytes"));
  EXPECT_THAT(error_of(file_with_value(8, Bytes().u64(UINT64_MAX))), HasSubstr("metadata key k"));
  EXPECT_THAT(error_of(file_with_value(9, Bytes().u32(4).u64(kHuge))), HasSubstr("elements of uint32 are declared"));
  EXPECT_THAT(error_of(file_with_value(9, Bytes().u32(10).u64(UINT64_MAX / 8 + 2).u64(1).u64(2))),
              HasSubstr("elements of uint64 are declared"));
  EXPECT_THAT(error_of(file_with_value(9, Bytes().u32(8).u64(kHuge))), HasSubstr("elements of string"));
  EXPECT_THAT(error_of(file_with_value(9, Bytes().u32(9).u64(kHuge))), HasSubstr("elements of array"));
  EXPECT_THAT(error_of(file_with_value(9, Bytes().u32(8).u64(2).string("a").u64(kHuge))), HasSubstr("string 1 of 2"));
  EXPECT_THAT(error_of(file_with_value(13, Bytes().u64(0))), HasSubstr("unknown value type 13"));
  EXPECT_THAT(error_of(file_with_value(9, Bytes().u32(77).u64(0))), HasSubstr("unknown type 77"));
  EXPECT_THAT(error_of(gguf_start(0, 1).u64(kHuge).raw(std::string(20, 'x')).text), HasSubstr("1152921504606846976"));
}

TEST(Gguf, RefusesOtherFilesVersionsAndByteOrders) {
  EXPECT_THAT(error_of(""), HasSubstr("the file ends inside"));
  EXPECT_THAT(error_of("PK\3\4 and more"), HasSubstr("starts with \"GGUF\""));
  EXPECT_THAT(error_of(gguf_start(0, 0, 1).text), HasSubstr("GGUF version 1; versions 2 and 3 can be read"));
  EXPECT_THAT(error_of(gguf_start(0, 0, 4).text), HasSubstr("GGUF version 4"));
  EXPECT_THAT(error_of(gguf_start(0, 0, 0x03000000).text), HasSubstr("big-endian"));
  EXPECT_EQ(code_of(gguf_start(0, 0, 1).text), core::ErrorCode::kUnsupported);
  EXPECT_EQ(error_of(gguf_start(0, 0, 2).text), "") << "version 2 is laid out as version 3";
}

TEST(Gguf, RefusesBadKeysAndAlignments) {
  const auto two_keys = gguf_start(0, 2).string("k").u32(0).raw("x").string("k").u32(0).raw("y").text;
  EXPECT_THAT(error_of(two_keys), HasSubstr("metadata key k appears twice"));
  EXPECT_THAT(error_of(gguf_start(0, 1).string("").u32(0).raw("xxxx").text), HasSubstr("1 to 65535 expected"));
  EXPECT_THAT(error_of(gguf_start(0, 1).string("a\nb").u32(0).raw("x").text), HasSubstr("a?b is not plain UTF-8"));
  EXPECT_THAT(error_of(gguf_start(0, 1).string("a\xff").u32(0).raw("x").text), HasSubstr("is not plain UTF-8"));
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 0x80000000u}) {
    EXPECT_THAT(error_of(gguf_start(0, 1).string("general.alignment").u32(4).u32(alignment).text),
                HasSubstr("general.alignment: a power of two from 8"));
  }
  EXPECT_THAT(error_of(gguf_start(0, 1).string("general.alignment").u32(8).string("32").text), HasSubstr("string"));
}

TEST(Gguf, RefusesBadShapes) {
  EXPECT_EQ(error_of(file_with({{"a", {8, 4}, 0, 0}}, 128)), "");
  EXPECT_THAT(error_of(file_with({{"a.b", {1, 1, 1, 1, 1}, 0, 0}}, 128)),
              HasSubstr("x.gguf: tensor a.b has 5 dimensions; at most 4"));
  EXPECT_THAT(error_of(file_with({{"a", {8, 0}, 0, 0}}, 128)), HasSubstr("tensor a: dimension 1 is 0"));
  EXPECT_THAT(error_of(file_with({{"a", {UINT64_MAX}, 0, 0}}, 128)), HasSubstr("tensor a: dimension 0"));
  EXPECT_THAT(error_of(file_with({{"a", {1ull << 32, 1ull << 32}, 0, 0}}, 128)), HasSubstr("tensor a: dimension 1"));
  EXPECT_THAT(error_of(file_with({{"a", {1ull << 61}, 0, 0}}, 128)), HasSubstr("larger than the file"));
  EXPECT_THAT(error_of(file_with({{"a", {1ull << 62}, 0, 0}}, 128)), HasSubstr("larger than the file"));
  EXPECT_THAT(error_of(file_with({{"a", {33}, 8, 0}}, 128)), HasSubstr("not whole q8_0 blocks of 32"));
  EXPECT_THAT(error_of(file_with({{"a", {1}, 12, 0}}, 256)), HasSubstr("not whole q4_k blocks of 256"));
}

TEST(Gguf, NamesUnknownAndRemovedTypes) {
  EXPECT_THAT(error_of(file_with({{"a", {32}, 137, 0}}, 128)), HasSubstr("tensor a has unknown type 137"));
  EXPECT_THAT(error_of(file_with({{"a", {32}, 31, 0}}, 128)), HasSubstr("the removed type 31 (q4_0_4_4)"));
  EXPECT_EQ(code_of(file_with({{"a", {32}, 137, 0}}, 128)), core::ErrorCode::kUnsupported);
}

TEST(Gguf, RefusesBadRanges) {
  EXPECT_EQ(error_of(file_with({{"a", {8}, 0, 32}, {"b", {8}, 0, 0}}, 64)), "") << "any order, no gap needed";
  EXPECT_THAT(error_of(file_with({{"a", {8}, 0, 0}, {"b", {8}, 0, 0}}, 64)), HasSubstr("tensors a and b overlap"));
  EXPECT_THAT(error_of(file_with({{"b", {8}, 0, 32}, {"a", {16}, 0, 0}}, 64)), HasSubstr("tensors a and b overlap"));
  EXPECT_THAT(error_of(file_with({{"a", {8}, 0, 4}}, 64)), HasSubstr("offset 4 is not a multiple"));
  EXPECT_THAT(error_of(file_with({{"a", {8}, 0, 64}}, 64)), HasSubstr("past the end of the file"));
  EXPECT_THAT(error_of(file_with({{"a", {8}, 0, UINT64_MAX - 31}}, 64)), HasSubstr("past the end of the file"));
  EXPECT_THAT(error_of(file_with({{"a", {8}, 0, 0}, {"a", {8}, 0, 32}}, 64)), HasSubstr("tensor a appears twice"));
}

TEST(Gguf, ListsTypesWithoutACodecByName) {
  const std::string text = file_with({{"a", {8}, 26, 0}}, 64);
  const auto gguf = Gguf::from_bytes(bytes_of(text));
  ASSERT_TRUE(gguf);
  EXPECT_EQ(gguf->find_tensor("a")->format->name, "i32");
  EXPECT_EQ(gguf->find_tensor("a")->bytes(), 32);
}

/// Part `index` (from 0) of `count`, with one tensor.
std::string part(uint16_t index, uint16_t count, std::string_view tensor, int32_t total) {
  Bytes bytes = gguf_start(1, 3);
  bytes.string("split.no").u32(2).number(index).string("split.count").u32(2).number(count);
  bytes.string("split.tensors.count").u32(5).number(total);
  bytes.string(tensor).u32(1).u64(8).u32(0).u64(0).pad(32);
  bytes.text.append(32, static_cast<char>('0' + index));
  return bytes.text;
}

TEST(GgufSplit, OpensAllParts) {
  const TemporaryFolder folder;
  write_file(folder / "m-00001-of-00003.gguf", part(0, 3, "a", 3));
  write_file(folder / "m-00002-of-00003.gguf", part(1, 3, "b", 3));
  write_file(folder / "m-00003-of-00003.gguf", part(2, 3, "c", 3));
  const auto gguf = Gguf::open(folder / "m-00001-of-00003.gguf");
  ASSERT_TRUE(gguf) << gguf.error().text();
  ASSERT_EQ(gguf->tensors().size(), 3u);
  EXPECT_EQ(static_cast<char>(gguf->find_tensor("c")->data[0]), '2');
  EXPECT_EQ(gguf->file_bytes(), static_cast<int64_t>(3 * part(0, 3, "a", 3).size()));
  const auto second = Gguf::open(folder / "m-00002-of-00003.gguf");
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("is part 2 of 3; open the first one"));
}

TEST(GgufSplit, NamesMissingParts) {
  const TemporaryFolder folder;
  write_file(folder / "m-00001-of-00004.gguf", part(0, 4, "a", 4));
  write_file(folder / "m-00003-of-00004.gguf", part(2, 4, "c", 4));
  const auto gguf = Gguf::open(folder / "m-00001-of-00004.gguf");
  ASSERT_FALSE(gguf);
  EXPECT_EQ(gguf.error().code, core::ErrorCode::kNotFound);
  EXPECT_THAT(gguf.error().message, HasSubstr("missing beside it: m-00002-of-00004.gguf, m-00004-of-00004.gguf"));
}

TEST(GgufSplit, RefusesPartsThatDoNotBelongTogether) {
  const TemporaryFolder folder;
  const auto open_with = [&](const std::string& second, int32_t total) {
    write_file(folder / "m-00001-of-00002.gguf", part(0, 2, "a", total));
    write_file(folder / "m-00002-of-00002.gguf", second);
    const auto gguf = Gguf::open(folder / "m-00001-of-00002.gguf");
    return gguf ? "" : gguf.error().text();
  };
  EXPECT_EQ(open_with(part(1, 2, "b", 2), 2), "");
  EXPECT_THAT(open_with(part(0, 2, "b", 2), 2), HasSubstr("split.no is 0"));
  EXPECT_THAT(open_with(part(1, 3, "b", 2), 2), HasSubstr("split.count 3"));
  EXPECT_THAT(open_with(part(1, 2, "a", 2), 2), HasSubstr("tensor a appears twice"));
  EXPECT_THAT(open_with(part(1, 2, "b", 2), 5), HasSubstr("split.tensors.count is 5"));
  EXPECT_THAT(open_with(part(1, 2, "b", 2).substr(0, 150), 2),
              HasSubstr("m-00002-of-00002.gguf: tensor b: its 32 bytes at offset 0"));
  write_file(folder / "other.gguf", part(0, 2, "a", 2));
  const auto misnamed = Gguf::open(folder / "other.gguf");
  ASSERT_FALSE(misnamed);
  EXPECT_THAT(misnamed.error().message, HasSubstr("-00001-of-00002.gguf"));
}

TEST(Gguf, SaysWhatIsWrongWithThePath) {
  const TemporaryFolder folder;
  const auto absent = Gguf::open(folder / "absent.gguf");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, core::ErrorCode::kNotFound);
  EXPECT_FALSE(Gguf::open(folder.path()));
}

}  // namespace
}  // namespace lamina::format

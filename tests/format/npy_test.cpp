#include "format/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"

namespace lamina::format {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Npy, ReadsWhatNumpyWrites) {
  const auto npy = NpyFile::open(golden_file("package.npy"));
  ASSERT_TRUE(npy) << npy.error().text();
  EXPECT_THAT(npy->shape(), ElementsAre(3, 4));
  EXPECT_EQ(npy->rows(), 3);
  EXPECT_THAT(npy->row(2), ElementsAre(1.0f, 1.125f, 1.25f, 1.375f));
}

TEST(Npy, WritesRowByRowWhatCanBeReadBack) {
  const TemporaryFolder folder;
  const int64_t row_shape[] = {2, 3};
  auto writer = NpyWriter::create(folder / "a.npy", NpyType::kFloat32, row_shape);
  ASSERT_TRUE(writer);
  std::vector<float> row(6);
  for (int i = 0; i < 1000; ++i) {
    row[5] = static_cast<float>(i);
    ASSERT_TRUE(writer->write_rows(row));
  }
  EXPECT_FALSE(writer->write_rows(std::span<const float>(row).first(5))) << "not a whole row";
  EXPECT_FALSE(writer->write_rows(std::vector<int32_t>(6))) << "another type";
  EXPECT_FALSE(std::filesystem::exists(folder / "a.npy")) << "appears when finished";
  ASSERT_TRUE(writer->finish());
  EXPECT_EQ(folder.files(), 1u);
  const auto npy = NpyFile::open(folder / "a.npy");
  ASSERT_TRUE(npy) << npy.error().text();
  EXPECT_THAT(npy->shape(), ElementsAre(1000, 2, 3));
  EXPECT_EQ(npy->row(999)[5], 999.0f);
}

// numpy pads its header for 21-digit growth of the first dimension from version 1.26 on, and so do we.
TEST(Npy, WritesTheHeaderThatNumpyWrites) {
  const TemporaryFolder folder;
  std::vector<float> values(12);
  for (size_t i = 0; i < 12; ++i) values[i] = static_cast<float>(i) / 8;
  const int64_t shape[] = {3, 4};
  ASSERT_TRUE(write_npy(folder / "a.npy", shape, values));
  EXPECT_EQ(read_file(folder / "a.npy"), read_file(golden_file("package.npy")));
  const int64_t wrong[] = {4, 4};
  EXPECT_FALSE(write_npy(folder / "b.npy", wrong, values));
  EXPECT_EQ(folder.files(), 1u);
}

TEST(Npy, WritesVectorsAndIntegers) {
  const TemporaryFolder folder;
  auto writer = NpyWriter::create(folder / "a.npy", NpyType::kInt64, {});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->write_rows(std::vector<int64_t>{1, 2, 3}));
  ASSERT_TRUE(writer->finish());
  EXPECT_THAT(read_file(folder / "a.npy"), HasSubstr("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }"));
  const auto npy = NpyFile::open(folder / "a.npy");
  ASSERT_FALSE(npy);
  EXPECT_THAT(npy.error().message, HasSubstr("float32"));
}

TEST(Npy, ACutOrChangedFileDoesNoHarm) {
  const TemporaryFolder folder;
  const std::string whole = read_file(golden_file("package.npy"));
  for (size_t size = 0; size < whole.size(); ++size) {
    write_file(folder / "cut.npy", whole.substr(0, size));
    ASSERT_FALSE(NpyFile::open(folder / "cut.npy").has_value()) << size;
  }
  const auto error_with = [&](std::string_view from, std::string_view to) {
    std::string changed = whole;
    changed.replace(changed.find(from), from.size(), to);
    write_file(folder / "changed.npy", changed);
    const auto npy = NpyFile::open(folder / "changed.npy");
    return npy ? "" : npy.error().message;
  };
  EXPECT_THAT(error_with("(3, 4)", "(3, 5)"), HasSubstr("(3, 5) does not agree with 48 bytes"));
  EXPECT_THAT(error_with("(3, 4), }                   ", "(4294967296, 4294967296), } "), HasSubstr("does not agree"));
  EXPECT_THAT(error_with("(3, 4)", "(-3,4)"), HasSubstr("dimension"));
  EXPECT_THAT(error_with("<f4", ">f4"), HasSubstr("little-endian float32"));
  EXPECT_THAT(error_with("False", "True "), HasSubstr("C order"));
  EXPECT_THAT(error_with("'shape'", "'shave'"), HasSubstr("damaged"));
  EXPECT_THAT(error_with("NUMPY", "NUMPI"), HasSubstr("not a .npy file"));
}

}  // namespace
}  // namespace lamina::format

// Runs that were broken off go on from the tensors that they had finished.
#include <gmock/gmock.h>

#include "compress/conversions.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using testing::HasSubstr;

class Resume : public testing::Test {
 protected:
  /// Ends the run once `most` of the bytes were given; 0: never.
  core::Result<CompressReport> run(int64_t most, const std::string& recipe = "L*:q8_0") const {
    core::ThreadPool pool(2);
    const Progress progress = [&](int64_t done, int64_t) { return most == 0 || done < most; };
    return compress({.model = model_, .out = out_, .recipe = recipe, .resume = true}, pool, progress);
  }
  size_t kept() const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(unfinished_))
      count += entry.path().extension() == ".tensor" ? 1 : 0;
    return count;
  }

  TemporaryFolder temporary_;
  fs::path model_ = folder_alone(run::golden_folder() / "qwen2", temporary_);
  fs::path out_ = temporary_.path() / "out.gguf";
  fs::path unfinished_ = temporary_.path() / "out.gguf.unfinished";
};

TEST_F(Resume, GoesOnWhereItWasBrokenOff) {
  const fs::path whole = temporary_.path() / "whole.gguf";
  const CompressReport wanted = written(model_, whole, "L*:q8_0");
  const auto first = run(wanted.bytes / 2);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, core::ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(out_));
  const size_t finished = kept();
  EXPECT_GT(finished, 0U);
  EXPECT_LT(finished, wanted.tensors.size());
  // What is kept is what is used: a byte that is changed there comes out changed.
  const fs::path piece = unfinished_ / "000000.tensor";
  std::fstream file(piece, std::ios::in | std::ios::out | std::ios::binary);
  const char before = static_cast<char>(file.get());
  file.seekp(0);
  file.put(static_cast<char>(before ^ 1));
  file.close();
  const auto second = run(0);
  ASSERT_TRUE(second) << second.error().text();
  EXPECT_FALSE(fs::exists(unfinished_));
  const format::ModelFiles found = opened(out_);
  const format::ModelFiles expected = opened(whole);
  size_t different = 0;
  for (const format::NamedTensor& tensor : expected.tensors()) {
    const core::TensorView* own = found.find(tensor.name);
    ASSERT_NE(own, nullptr);
    different += std::memcmp(own->data, tensor.view.data, static_cast<size_t>(own->bytes())) == 0 ? 0 : 1;
  }
  EXPECT_EQ(different, 1U);
  ASSERT_EQ(second->tensors.size(), wanted.tensors.size());
  for (size_t i = 0; i < wanted.tensors.size(); ++i) {
    EXPECT_EQ(second->tensors[i].name, wanted.tensors[i].name);
    EXPECT_EQ(second->tensors[i].rmse, wanted.tensors[i].rmse);
    EXPECT_EQ(second->tensors[i].bytes_before, wanted.tensors[i].bytes_before);
  }
}

TEST_F(Resume, RefusesWhatIsOfAnotherRun) {
  ASSERT_FALSE(run(written(model_, temporary_.path() / "whole.gguf").bytes / 2));
  const auto other = run(0, "L*:q4_0");
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().text(), HasSubstr("another model, recipe or statistics"));
  const fs::path piece = unfinished_ / "000000.tensor";
  fs::resize_file(piece, 3);
  const auto short_one = run(0);
  ASSERT_FALSE(short_one);
  EXPECT_THAT(short_one.error().text(), HasSubstr("bytes too early"));
  fs::remove_all(unfinished_);
  fs::create_directory(unfinished_);
  const auto strange = run(0);
  ASSERT_FALSE(strange);
  EXPECT_THAT(strange.error().text(), HasSubstr("has no plan.json"));
  fs::remove_all(unfinished_);
  EXPECT_TRUE(run(0));
}

}  // namespace
}  // namespace lamina::compress

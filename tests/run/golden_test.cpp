// Tiny random models against the float32 logits and hidden states that the reference library gave
// (tools/make_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "format/npy.h"
#include "run/golden_files.h"
#include "run/model_runs.h"

namespace lamina::run {
namespace {

constexpr double kRelative = 1e-4;

/// Keeps the stream after the embedding and after every visit.
class KeepStreams : public BorderHook {
 public:
  void at_border(const Border& border, float* stream) override {
    auto& kept = streams[static_cast<size_t>(border.visit + 1)];
    kept.insert(kept.end(), stream, stream + border.rows * border.hidden);
  }
  std::vector<std::vector<float>> streams{64};
};

/// Largest difference over the largest magnitude.
double relative_error(std::span<const float> found, std::span<const float> wanted) {
  double difference = 0;
  double magnitude = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!(std::abs(found[i]) < 1e30F)) return INFINITY;
    difference = std::max(difference, std::abs(double{found[i]} - double{wanted[i]}));
    magnitude = std::max(magnitude, std::abs(double{wanted[i]}));
  }
  return difference / magnitude;
}

std::span<const float> numbers(const format::NpyFile& file) {
  return {file.row(0).data(), static_cast<size_t>(file.rows() * file.row_elements())};
}

class Golden : public testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return golden_folder() / GetParam(); }
  /// An int32 array: its numbers are the end of the file.
  std::vector<int32_t> tokens() const {
    std::ifstream file(folder() / "tokens.npy", std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    const size_t begin = 10 + static_cast<unsigned char>(bytes[8]) + 256 * static_cast<unsigned char>(bytes[9]);
    EXPECT_NE(bytes.find("'<i4'"), std::string::npos);
    std::vector<int32_t> tokens((bytes.size() - begin) / sizeof(int32_t));
    std::memcpy(tokens.data(), bytes.data() + begin, tokens.size() * sizeof(int32_t));
    return tokens;
  }
  void compare(const std::filesystem::path& path) const {
    const auto logits_file = format::NpyFile::open(folder() / "logits.npy").value();
    const auto hidden_file = format::NpyFile::open(folder() / "hidden.npy").value();
    const auto logits = numbers(logits_file);
    const auto hidden = numbers(hidden_file);
    double worst_logits = 0;
    double worst_hidden = 0;
    for (const std::vector<int64_t>& pieces :
         {std::vector<int64_t>{64}, std::vector<int64_t>{1}, std::vector<int64_t>{7, 1, 13}}) {
      ModelRun run = ModelRun::open(path, {.exact = true});
      KeepStreams streams;
      run.runner->set_hook(&streams);
      const auto found = run.logits(tokens(), pieces);
      const double logits_error = relative_error(found, logits);
      worst_logits = std::max(worst_logits, logits_error);
      EXPECT_LT(logits_error, kRelative) << "logits, pieces of " << pieces[0];
      const size_t size = hidden.size() / (run.model->layers().size() + 1);
      for (size_t layer = 0; layer <= run.model->layers().size(); ++layer) {
        ASSERT_EQ(streams.streams[layer].size(), size);
        const double error = relative_error(streams.streams[layer], std::span(hidden).subspan(layer * size, size));
        worst_hidden = std::max(worst_hidden, error);
        EXPECT_LT(error, kRelative) << "stream " << layer;
      }
    }
    record_figure("logits", worst_logits);
    record_figure("hidden", worst_hidden);
  }
};

/// The cases that have that file: what a case says cannot always be said in both forms.
std::vector<std::string> names_with(const char* file) {
  std::vector<std::string> names = golden_names();
  std::erase_if(names,
                [file](const std::string& name) { return !std::filesystem::exists(golden_folder() / name / file); });
  return names;
}

TEST_P(Golden, GgufMatchesTheReference) {
  compare(folder() / "model.gguf");
}
INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(names_with("model.gguf")),
                         [](const auto& info) { return info.param; });

using GoldenFolder = Golden;
TEST_P(GoldenFolder, MatchesTheReference) {
  compare(folder());
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenFolder, testing::ValuesIn(names_with("model.safetensors")),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lamina::run

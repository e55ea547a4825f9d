// Tiny random models against the float32 logits and hidden states that the reference library gave
// (tools/make_golden.py).
#include <gtest/gtest.h>

#include "run/golden_files.h"
#include "run/model_runs.h"

namespace lamina::run {
namespace {

constexpr double kRelative = 1e-4;

class Golden : public testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return golden_folder() / GetParam(); }
  void compare(const std::filesystem::path& path) const {
    const auto tokens = read_npy<int32_t>(folder() / "tokens.npy", "<i4");
    const auto logits = read_numbers(folder() / "logits.npy");
    const auto hidden = read_numbers(folder() / "hidden.npy");
    double worst_logits = 0;
    double worst_hidden = 0;
    for (const std::vector<int64_t>& pieces :
         {std::vector<int64_t>{64}, std::vector<int64_t>{1}, std::vector<int64_t>{7, 1, 13}}) {
      ModelRun run = ModelRun::open(path, {.exact = true});
      KeepStreams streams;
      run.runner->set_hook(&streams);
      const auto found = run.logits(tokens, pieces);
      const double logits_error = relative_error(found, logits);
      worst_logits = std::max(worst_logits, logits_error);
      EXPECT_LT(logits_error, kRelative) << "logits, pieces of " << pieces[0];
      const size_t size = hidden.size() / (run.model->layers().size() + 1);
      ASSERT_GT(streams.streams.size(), run.model->layers().size());
      for (size_t layer = 0; layer <= run.model->layers().size(); ++layer) {
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

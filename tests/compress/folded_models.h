#pragma once

#include <cmath>

#include "compress/conversions.h"
#include "compress/edit.h"
#include "compress/model_statistics.h"
#include "compress/pass.h"

namespace lamina::compress {

/// A golden model's GGUF file, or its folder where it has none.
inline std::filesystem::path golden_model(const std::string& name) {
  const std::filesystem::path folder = run::golden_folder() / name;
  return std::filesystem::exists(folder / "model.gguf") ? folder / "model.gguf" : folder;
}

/// What some tokens show of a model, Gram matrices too, with activations in float32.
inline stats::Statistics exact_statistics(const std::filesystem::path& model) {
  run::ModelRun run = run::ModelRun::open(model, {.exact = true});
  return statistics_of(run);
}

inline std::filesystem::path saved_statistics(const std::filesystem::path& model, const app::TemporaryFolder& folder) {
  return save_statistics(exact_statistics(model), folder);
}

/// The logits of a golden model's text, activations in float32.
inline std::vector<float> exact_logits(const std::filesystem::path& path, const std::string& golden) {
  run::ModelRun run = run::ModelRun::open(path, {.exact = true});
  return run.logits(run::read_npy<int32_t>(run::golden_folder() / golden / "tokens.npy", "<i4"), {64});
}

/// The largest difference beside the largest number.
inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  double size = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    most = std::max(most, std::fabs(double{a[i]} - double{b[i]}));
    size = std::max(size, std::fabs(double{a[i]}));
  }
  return most / size;
}

/// The statistics that passes leave are those of the model that they leave, as a run of it finds them.
inline void expect_statistics_follow(const std::string& golden, const std::string& passes) {
  const app::TemporaryFolder temporary;
  const std::filesystem::path model = golden_model(golden);
  core::ThreadPool pool(2);
  auto edit = ModelEdit::open(models::Model::build(model, {}).value(), temporary.path(), pool).value();
  edit.set_statistics(exact_statistics(model));
  const recipe::Recipe recipe = recipe::parse(passes).value();
  std::vector<PassReport> reports;
  const auto status = run_passes(recipe, edit, reports);
  ASSERT_TRUE(status) << status.error().text();

  const std::filesystem::path out = temporary.path() / "out.gguf";
  const std::filesystem::path saved = saved_statistics(model, temporary);
  const bool head = edit.find(-1, "head", "head") != nullptr;
  const auto written = with_statistics(model, out, passes + " L*:f32 embed:f32" + (head ? " head:f32" : ""), saved);
  ASSERT_TRUE(written) << written.error().text();
  const stats::Statistics wanted = exact_statistics(out);
  const stats::Statistics& found = *edit.statistics();
  int compared = 0;
  for (const stats::MatrixStats& matrix : found.matrices) {
    const stats::MatrixStats* other = wanted.find(matrix.tensor);
    ASSERT_NE(other, nullptr) << matrix.tensor;
    for (int64_t m = 0; m < matrix.matrices(); ++m) {
      const stats::Gram* gram = found.gram(matrix, m);
      const stats::Gram* expected = wanted.gram(*other, m);
      if (gram == nullptr || expected == nullptr || gram->rows() == 0) continue;
      double largest = 0;
      for (int64_t i = 0; i < gram->inputs(); ++i) largest = std::max(largest, expected->at(i, i));
      for (int64_t i = 0; i < gram->inputs(); ++i) {
        const auto at = static_cast<size_t>(m * matrix.inputs + i);
        ASSERT_NEAR(matrix.squares[at], other->squares[at], 1e-3 * largest) << matrix.tensor << " " << i;
        for (int64_t j = 0; j <= i; ++j)
          ASSERT_NEAR(gram->at(i, j), expected->at(i, j), 1e-3 * largest) << matrix.tensor << " " << i << ", " << j;
      }
      ++compared;
    }
  }
  EXPECT_GT(compared, 4) << golden;
}

}  // namespace lamina::compress

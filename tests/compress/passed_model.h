#pragma once

#include "compress/folded_models.h"

namespace lamina::compress {

/// A model after passes that read tokens, and what they said. Nothing is encoded or written.
struct Passed {
  app::TemporaryFolder folder{};
  core::ThreadPool pool{2};
  std::optional<ModelEdit> edit{};
  std::vector<PassReport> reports{};
  core::Status status{};

  Passed(const std::filesystem::path& model, const std::string& recipe, std::vector<int32_t> tokens) {
    edit = ModelEdit::open(models::Model::build(model, {}).value(), folder.path(), pool).value();
    edit->set_calibration(std::move(tokens));
    status = run_passes(recipe::parse(recipe).value(), *edit, reports);
  }
  /// The model as it is now, activations in float32.
  std::unique_ptr<models::Model> load() {
    auto model = models::Model::build(edit->model().files(), {.exact = true}).value();
    EXPECT_TRUE(model->load(pool, {}));
    return model;
  }
};

}  // namespace lamina::compress

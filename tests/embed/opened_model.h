#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "core/thread_pool.h"
#include "models/model.h"
#include "run/runner.h"
#include "support/source_dir.h"

namespace lamina::embed {

inline const std::filesystem::path kGolden = source_dir() / "tests/golden";

/// A loaded model with a runner over its whole route.
struct OpenedModel {
  std::unique_ptr<core::ThreadPool> pool = std::make_unique<core::ThreadPool>(2);
  std::unique_ptr<models::Model> model;
  std::unique_ptr<run::Runner> runner;

  OpenedModel(const std::filesystem::path& path, int64_t context, int32_t sequences, int64_t max_rows) {
    auto built = models::Model::build(path, {.exact = true});
    if (!built) throw std::runtime_error(built.error().text());
    model = std::move(*built);
    EXPECT_TRUE(model->load(*pool, {}));
    recipe::RunPlan plan{.route = {}, .kv_format = "f32"};
    for (const int layer : model->route()) plan.route.push_back({.layer = layer});
    runner = run::Runner::create(*model, *pool,
                                 {.plan = plan, .context = context, .sequences = sequences, .max_rows = max_rows})
                 .value();
  }
};

/// A fresh copy of a model's folder, to which a test adds files; it goes with its owner.
class ModelFolder {
 public:
  explicit ModelFolder(const std::filesystem::path& source) {
    std::string name = std::filesystem::temp_directory_path() / "lamina.XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
    std::filesystem::copy(source, path_, std::filesystem::copy_options::recursive);
  }
  ~ModelFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  ModelFolder(const ModelFolder&) = delete;
  ModelFolder& operator=(const ModelFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace lamina::embed

#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "recipe/recipe.h"
#include "run/runner.h"
#include "support/source_dir.h"

namespace lamina::run {

inline std::filesystem::path golden_folder() {
  return source_dir() / "tests/golden/models";
}

/// The golden models, by folder name.
inline std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct ModelRunOptions {
  bool exact = false;
  int threads = 2;
  int64_t context = 128;
  int32_t sequences = 1;
  int64_t max_rows = 64;
  bool spare = false;                   ///< every visit of the route may be made twice
  std::optional<std::string> recipe{};  ///< by default keys and values, if there are any, stay float32
};

inline std::vector<recipe::LayerFacts> sublayers_of(const models::Model& model) {
  std::vector<recipe::LayerFacts> facts;
  for (const layers::Layer& layer : model.layers()) {
    const auto has = [&](std::string_view role) {
      return std::ranges::find(layer.parts, role, &layers::Layer::Part::role) != layer.parts.end();
    };
    facts.push_back({.attention = has("attn") || has("mixer"), .mlp = has("mlp"), .cross = has("cross")});
  }
  return facts;
}

/// A loaded model with a runner over it.
struct ModelRun {
  std::unique_ptr<core::ThreadPool> pool;
  std::unique_ptr<models::Model> model;
  std::unique_ptr<Runner> runner;

  static ModelRun open(const std::filesystem::path& path, const ModelRunOptions& options) {
    ModelRun run;
    run.pool = std::make_unique<core::ThreadPool>(options.threads);
    auto recipe = recipe::parse(options.recipe.value_or(""));
    if (!recipe) throw std::runtime_error(recipe.error().text());
    auto model = models::Model::build(path, {.exact = options.exact, .recipe = *recipe});
    if (!model) throw std::runtime_error(model.error().text());
    run.model = std::move(*model);
    if (const auto status = run.model->load(*run.pool, {}); !status) throw std::runtime_error(status.error().text());
    if (!options.recipe && run.model->keeps_keys()) recipe = recipe::parse("kv:f32");
    const auto plan = recipe::plan(*recipe, {.layers = static_cast<int>(run.model->layers().size()),
                                             .key_value_cache = run.model->keeps_keys(),
                                             .recurrent = false,
                                             .sublayers = sublayers_of(*run.model),
                                             .route = run.model->route()});
    if (!plan) throw std::runtime_error(plan.error().text());
    auto runner = Runner::create(*run.model, *run.pool,
                                 {.plan = *plan,
                                  .context = options.context,
                                  .sequences = options.sequences,
                                  .max_rows = options.max_rows,
                                  .spare = options.spare ? plan->route : std::vector<recipe::Visit>()});
    if (!runner) throw std::runtime_error(runner.error().text());
    run.runner = std::move(*runner);
    return run;
  }

  /// Logits [tokens, vocabulary] of a sequence fed in pieces of these sizes (the last repeats).
  std::vector<float> logits(const std::vector<int32_t>& tokens, const std::vector<int64_t>& pieces) {
    const auto vocabulary = static_cast<size_t>(model->vocabulary());
    std::vector<float> all(tokens.size() * vocabulary);
    const auto sequence = runner->open().value();
    size_t at = 0;
    for (size_t piece = 0; at < tokens.size(); ++piece) {
      const auto size = static_cast<size_t>(pieces[std::min(piece, pieces.size() - 1)]);
      std::vector<BatchRow> rows;
      for (size_t i = at; i < std::min(at + size, tokens.size()); ++i)
        rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = true});
      const auto status = runner->step(rows, std::span(all).subspan(at * vocabulary));
      if (!status) throw std::runtime_error(status.error().text());
      at += rows.size();
    }
    runner->close(sequence);
    return all;
  }
};

/// Keeps the stream at every border.
class KeepStreams : public BorderHook {
 public:
  void at_border(const Border& border, float* stream) override {
    streams.resize(std::max(streams.size(), static_cast<size_t>(border.visit + 2)));
    auto& kept = streams[static_cast<size_t>(border.visit + 1)];
    kept.insert(kept.end(), stream, stream + border.rows * border.hidden);
  }
  std::vector<std::vector<float>> streams;
};

}  // namespace lamina::run

#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "format/model_files.h"
#include "kernels/rope.h"
#include "layers/embedding.h"
#include "layers/head.h"
#include "layers/layer.h"
#include "recipe/recipe.h"

namespace lamina::models {

struct BuildOptions {
  bool exact = false;       ///< activations stay float32 (--activations f32)
  recipe::Recipe recipe{};  ///< its codecs give the weights other formats when they are loaded
};

/// The ordered layers plus embedding and head of one model file, built from its architecture's description.
class Model {
 public:
  /// Reads the header, builds every layer and checks every tensor. Reads no weights: load() does.
  static core::Result<std::unique_ptr<Model>> build(const std::filesystem::path& path, const BuildOptions& options);

  /// Packs the weights on all threads; needed once before the model runs.
  core::Status load(core::ThreadPool& pool, const layers::Progress& progress);

  const format::ModelFiles& files() const { return files_; }
  const std::string& architecture() const { return architecture_; }
  /// Which tensors the layers asked for, and the matrices made of them.
  const layers::Weights& weights() const { return *weights_; }
  const layers::Embedding& embedding() const { return embedding_; }
  const std::vector<layers::Layer>& layers() const { return layers_; }
  /// The head that reads the stream; an encoder's may have no outputs.
  const layers::Head& head() const { return head_; }
  /// The layers that a token visits when no recipe says otherwise.
  const std::vector<int>& route() const { return route_; }
  /// Whether rows read rows after them (an encoder): a text is computed whole in one step, and nothing of it is kept.
  bool reads_ahead() const;
  const std::vector<kernels::RopeFrequencies>& ropes() const { return ropes_; }
  int64_t hidden() const { return embedding_.hidden(); }
  int64_t vocabulary() const { return embedding_.vocabulary(); }
  int64_t context() const { return context_; }  ///< positions that the model was made for
  /// Bytes of the packed matrices.
  int64_t weight_bytes() const { return weights_->packed_bytes(); }
  int64_t parameters() const;

 private:
  explicit Model(format::ModelFiles files) : files_(std::move(files)) {}
  core::Status read_head(std::span<const nlohmann::json> records);
  core::Status check_unused(const nlohmann::json& ignored) const;

  format::ModelFiles files_;
  std::unique_ptr<layers::Weights> weights_;
  std::string architecture_;
  layers::Embedding embedding_;
  std::vector<layers::Layer> layers_;
  layers::Head head_;
  std::vector<int> route_;
  std::vector<kernels::RopeFrequencies> ropes_;
  int64_t context_ = 0;
};

}  // namespace lamina::models

#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
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

struct Architecture;

struct BuildOptions {
  bool exact = false;       ///< activations stay float32 (--activations f32)
  recipe::Recipe recipe{};  ///< its codecs give the weights other formats when they are loaded
};

/// The ordered layers plus embedding and head of one model file, built from its architecture's description. An
/// encoder-decoder is a decoder that owns the model of its encoder.
class Model {
 public:
  /// Reads the header, builds every layer and checks every tensor. Reads no weights: load() does.
  static core::Result<std::unique_ptr<Model>> build(const std::filesystem::path& path, const BuildOptions& options);
  /// The same of files that are open.
  static core::Result<std::unique_ptr<Model>> build(format::ModelFiles files, const BuildOptions& options);

  /// Packs the weights on all threads; needed once before the model runs.
  core::Status load(core::ThreadPool& pool, const layers::Progress& progress);
  /// Instead of load(): uses packed weights that save_packed() wrote (layers::Weights::adopt).
  core::Status load_packed(format::PackedFile packed);
  /// Writes the packed weights of this model, recipe and kind of machine; leaves the model without weights.
  core::Status save_packed(const std::filesystem::path& path, core::ThreadPool& pool, const layers::Progress& progress);

  const format::ModelFiles& files() const { return source_->files; }
  const std::string& architecture() const { return architecture_; }
  /// Which tensors the layers asked for, and the matrices made of them.
  const layers::Weights& weights() const { return source_->weights; }
  const layers::Embedding& embedding() const { return embedding_; }
  const std::vector<layers::Layer>& layers() const { return layers_; }
  /// The head that reads the stream; an encoder's may have no outputs.
  const layers::Head& head() const { return head_; }
  /// The layers that a token visits when no recipe says otherwise.
  const std::vector<int>& route() const { return route_; }
  /// The stack that cross attention reads, of an encoder-decoder; null for others. Its weights are loaded with these.
  const Model* encoder() const { return encoder_.get(); }
  /// The token from which an encoder-decoder starts its own text; 0 for others.
  int32_t start_token() const { return start_token_; }
  /// Whether rows read rows after them (an encoder): a text is computed whole in one step, and nothing of it is kept.
  bool reads_ahead() const;
  /// Whether some layer keeps keys and values.
  bool keeps_keys() const;
  const std::vector<kernels::RopeFrequencies>& ropes() const { return ropes_; }
  int64_t hidden() const { return embedding_.hidden(); }
  int64_t vocabulary() const { return embedding_.vocabulary(); }
  int64_t context() const { return context_; }  ///< positions that the model was made for
  /// Bytes of the packed matrices, an encoder's too.
  int64_t weight_bytes() const { return source_->weights.packed_bytes(); }
  int64_t parameters() const;
  /// A tensor of the file as a list should show it (layers::Weights::listed).
  core::TensorView listed(const format::NamedTensor& tensor) const { return source_->weights.listed(tensor); }

 private:
  /// What the stacks of one file share.
  struct Source {
    Source(format::ModelFiles opened, bool exact) : files(std::move(opened)), weights(files, exact) {}
    format::ModelFiles files;
    layers::Weights weights;
    recipe::Recipe recipe{};  ///< of the stack that is being read
  };

  explicit Model(std::shared_ptr<Source> source) : source_(std::move(source)) {}
  core::Status read(const Architecture& architecture, const std::string& place);
  core::Status read_layers(std::span<const nlohmann::json> records, const std::string& place);
  core::Status read_head(std::span<const nlohmann::json> records, const std::string& place);
  core::Status read_encoder(const Architecture& architecture, const std::string& place);
  core::Status check_unused(const nlohmann::json& ignored) const;

  std::shared_ptr<Source> source_;
  std::string architecture_;
  layers::Embedding embedding_;
  std::vector<layers::Layer> layers_;
  layers::Head head_;
  std::vector<int> route_;
  std::vector<kernels::RopeFrequencies> ropes_;
  std::unique_ptr<Model> encoder_;
  int64_t context_ = 0;
  int32_t start_token_ = 0;
};

}  // namespace lamina::models

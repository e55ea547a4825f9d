#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tensor_map.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "models/model.h"
#include "stats/statistics.h"

namespace lamina::compress {

class Scratch;

/// The numbers of a matrix, outputs first, or of a vector (then `inputs` is 1).
struct Matrix {
  int64_t outputs = 0;
  int64_t inputs = 0;
  std::vector<float> numbers{};

  float* row(int64_t output) { return numbers.data() + output * inputs; }
  const float* row(int64_t output) const { return numbers.data() + output * inputs; }
};

/// A model on its way to other numbers, tensors and settings, before it is encoded and written. Nothing of it is held
/// in memory but what a pass holds: tensors that were not touched stay where they lie in the model's files, those that
/// were lie as float32 in an unnamed file on the output's disk. After every commit() it is a whole model again, which
/// may be walked, run, translated into the other container and encoded as any other.
///
///   for (const Piece& piece : edit.pieces()) {            // a pass that scales matrices
///     if (!piece.matrix || !selected(piece)) continue;
///     LAMINA_ASSIGN(Matrix matrix, edit.read(piece));
///     ...
///     LAMINA_CHECK_OK(edit.write(piece, matrix));
///   }
///
/// A pass reads and writes one matrix, or the few that belong together, at a time. Numbers that are not finite are
/// refused by write(). What a recipe gives no format keeps the one that it had in the model's files.
class ModelEdit {
 public:
  /// `scratch` is a folder on a disk with room for the changed tensors in float32.
  static core::Result<ModelEdit> open(std::unique_ptr<models::Model> model, const std::filesystem::path& scratch,
                                      core::ThreadPool& pool);
  ModelEdit(ModelEdit&&) noexcept;
  ModelEdit& operator=(ModelEdit&&) noexcept;
  ~ModelEdit();

  /// The model as of the last commit(). Not loaded: its numbers are read through read(), or after Model::load().
  const models::Model& model() const { return *model_; }
  const models::Architecture& architecture() const { return *architecture_; }
  /// Every matrix, table and vector of it, as of the last commit(): layer, role ("attn", "mlp", ...), key of the record
  /// ("q", "down", "norm", ...; of experts one piece each, in order). A head that is the embedding's table has none.
  std::span<const Piece> pieces() const { return pieces_; }
  /// The first of them with that place, or null. `key` "norm" of "head" is the last norm.
  const Piece* find(int layer, std::string_view role, std::string_view key) const;
  core::ThreadPool& pool() const { return *pool_; }
  /// Layers may have been taken out: how many the model had when it was opened, and which of them each one was. Recipes
  /// and statistics go by those numbers.
  int source_layers() const { return source_layers_; }
  int origin(int layer) const { return layer < 0 ? layer : origins_[static_cast<size_t>(layer)]; }
  /// Says which of the layers so far the layers from the next commit() on are.
  void keep_layers(const std::vector<int>& kept);

  /// The numbers of a piece, rows in the file's order. Fused tensors, stacks of experts, inputs-first storage and norms
  /// stored as a difference from one are taken apart: a norm's numbers are what the stream is multiplied by.
  core::Result<Matrix> read(const Piece& piece) const;
  /// The vector that is added to a matrix's outputs, or null.
  const Piece* bias_of(const Piece& matrix) const;
  /// Replaces the numbers of a piece; the shape must be the same. kInvalid: a number that is not finite, with its
  /// place.
  core::Status write(const Piece& piece, const Matrix& matrix);

  // What follows changes names, shapes and settings, and shows in model() and pieces() after commit().

  /// Adds a tensor of float32, or replaces that of the name. `codec` is the format that it is to have where the recipe
  /// says nothing; null: f32.
  core::Status add(const std::string& name, const std::vector<int64_t>& shape, std::span<const float> numbers,
                   const codec::Codec* codec = nullptr);
  core::Status remove(const std::string& name);
  /// Many at once, so that names may change places; none may stand for two tensors afterwards. Statistics move along.
  core::Status rename(const std::map<std::string, std::string>& names);
  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// The format that a changed tensor is to have where the recipe says nothing: the one that it had, or f16 where that
  /// has no encoder; null for a tensor that was not changed.
  const codec::Codec* kept_codec(const Piece& piece) const;
  /// Sets that format for a tensor that was changed.
  void keep_as(const Piece& piece, const codec::Codec& codec);
  /// The format in which the piece's numbers lie, or lay before they were changed.
  const codec::Codec* codec_of(const Piece& piece) const;
  /// All names, in the order in which they will be written.
  const std::vector<std::string>& names() const { return order_; }

  /// The settings as the container has them: GGUF metadata as one flat object, or config.json.
  const nlohmann::json& config() const { return config_; }
  /// Sets one: a flat key of GGUF, or a path with dots in config.json. `real`: a float32 in GGUF whatever its value.
  /// A null removes it.
  void set_config(const std::string& key, nlohmann::json value, bool real = false);
  /// The keys of GGUF metadata that were set or removed, and those of them that are float32.
  const std::set<std::string>& changed_keys() const { return changed_keys_; }
  const std::set<std::string>& real_keys() const { return real_keys_; }

  /// Makes the changes a model: builds it from the tensors and settings at hand. An error says what of it does not fit
  /// together, such as a tensor that no layer reads.
  core::Status commit();

  /// What calibration text showed of the model, by tensor of the edited model; null without --stats. A pass that
  /// scales a matrix's inputs scales their squares here.
  stats::Statistics* statistics() { return statistics_ ? &*statistics_ : nullptr; }
  const stats::Statistics* statistics() const { return statistics_ ? &*statistics_ : nullptr; }
  /// The mean squares of the piece's inputs, of an expert those of the rows that chose it; empty where nothing is
  /// known.
  std::vector<float> importance(const Piece& piece) const;
  void set_statistics(stats::Statistics statistics) { statistics_ = std::move(statistics); }

  /// Tokens of text that passes run the model on; empty without --calibration.
  std::span<const int32_t> calibration() const { return calibration_; }
  void set_calibration(std::vector<int32_t> tokens) { calibration_ = std::move(tokens); }

 private:
  struct Tensor {
    core::TensorView view{};               ///< in the model's files or in scratch memory
    const codec::Codec* before = nullptr;  ///< the format that it had, or is to have
    bool own = false;                      ///< in scratch memory
  };

  ModelEdit() = default;
  core::Result<Tensor*> own_tensor(const Piece& piece);
  static bool inputs_first(const Piece& piece, const Tensor& tensor);
  core::Status walk();
  std::string place() const { return model_->files().path().string(); }
  const std::string& file_name(const Piece& piece) const { return model_->weights().file_name(piece.from.tensor); }

  core::ThreadPool* pool_ = nullptr;
  std::shared_ptr<Scratch> scratch_;
  std::unique_ptr<models::Model> model_;
  const models::Architecture* architecture_ = nullptr;
  std::vector<Piece> pieces_;
  int source_layers_ = 0;
  std::vector<int> origins_;
  std::vector<std::string> order_;         ///< names, as the file has them, then those that were added
  std::map<std::string, Tensor> tensors_;  ///< by name in the file
  nlohmann::json config_;
  std::set<std::string> changed_keys_;
  std::set<std::string> real_keys_;
  std::optional<stats::Statistics> statistics_;
  std::vector<int32_t> calibration_;
};

}  // namespace lamina::compress

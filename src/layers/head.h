#pragma once

#include <memory>
#include <optional>

#include "kernels/activation.h"
#include "layers/embedding.h"
#include "layers/norm.h"
#include "layers/step.h"

namespace lamina::layers {

/// What reads the finished stream: the last norm, and a product that turns rows into logits over tokens or labels. Each
/// part is optional; an encoder may have none.
class Head {
 public:
  /// Reads {norm?, dense?: {weight, bias?, activation, width?, norm?}, weight?, bias?, labels?, tied?, scale?,
  /// soft_cap?}. Logits are over the vocabulary, or over `labels` when that is true. A tied head, or one whose tensor
  /// is absent in a container that leaves tied heads out, uses the embedding's table.
  static core::Result<Head> make(Record record, const Embedding& embedding, Weights& weights);

  /// Logits per row; 0 when there are none.
  int64_t outputs() const { return linear_ ? linear_->outputs() : 0; }
  /// Whether logits are over labels of a text, read from its first row.
  bool labels() const { return labels_; }
  bool tied() const { return tied_; }
  /// Whether finish() changes anything.
  bool has_norm() const { return norm_.has_value(); }
  /// The last norm of `rows` rows, in place.
  void finish(float* x, int64_t rows) const;
  /// logits [rows, outputs] of x [rows, hidden]; overwrites x.
  void forward(Step& step, float* x, int64_t rows, float* logits) const;
  /// Arena bytes of forward() for that many rows, and scratch bytes per thread.
  int64_t arena_bytes(int64_t rows) const;
  int64_t scratch_bytes(int64_t rows) const;
  /// Its matrices.
  std::vector<const Linear*> linears() const;

 private:
  core::Result<int64_t> read_dense(Record& record, Weights& weights);
  core::Status read_product(Record& record, const Embedding& embedding, Weights& weights, int64_t inputs);

  int64_t hidden_ = 0;
  std::optional<Norm> norm_;
  std::shared_ptr<const Linear> dense_;
  kernels::Activation activation_ = kernels::Activation::kIdentity;
  std::optional<Norm> dense_norm_;
  std::shared_ptr<const Linear> linear_;
  bool labels_ = false;
  bool tied_ = false;
  float scale_ = 1;
  float soft_cap_ = 0;
};

}  // namespace lamina::layers

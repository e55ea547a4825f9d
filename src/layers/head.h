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
  /// Reads {norm?, dense?: {weight, bias?, activation, width?, norm?}, weight?, bias?, labels?, pooling?, tied?,
  /// scale?, soft_cap?}. Logits are over the vocabulary, or over labels of a text when `labels` is true: of its first
  /// row, or of the mean of its rows (pooling "cls" or "mean"). A tied head, or one whose tensor is absent in a
  /// container that leaves tied heads out, uses the embedding's table.
  static core::Result<Head> make(Record record, const Embedding& embedding, Weights& weights);

  /// Logits per row; 0 when there are none.
  int64_t outputs() const { return linear_ ? linear_->outputs() : 0; }
  /// Whether logits are over labels of a text.
  bool labels() const { return labels_; }
  /// Whether they are made of the mean of the text's finished rows, not of its first row.
  bool pools_rows() const { return pools_rows_; }
  bool tied() const { return tied_; }
  /// Whether finish() changes anything.
  bool has_norm() const { return norm_.has_value(); }
  /// The last norm of `rows` rows, in place.
  void finish(float* x, int64_t rows) const;
  /// The mean [hidden] of rows [rows, hidden] that finish() has been through; sums run in double, rows ascending.
  void mean_row(const float* x, int64_t rows, float* mean) const;
  /// logits [rows, outputs] of x [rows, hidden], which is finished here unless pools_rows(); overwrites x.
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
  bool pools_rows_ = false;
  bool tied_ = false;
  float scale_ = 1;
  float soft_cap_ = 0;
};

}  // namespace lamina::layers

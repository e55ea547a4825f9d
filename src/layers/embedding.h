#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/tensor.h"
#include "layers/weights.h"

namespace lamina::layers {

/// The table that turns tokens into the stream. Rows are decoded from the mapped file when they are needed.
class Embedding {
 public:
  /// Reads {weight, hidden, scale, positions?: {weight}}. The number of rows is the vocabulary; `positions` is a table
  /// of vectors that are added by position.
  static core::Result<Embedding> make(Record record, Weights& weights);

  int64_t vocabulary() const { return table_.shape[0]; }
  int64_t hidden() const { return table_.shape[1]; }
  const std::string& name() const { return name_; }
  const core::TensorView& table() const { return table_; }
  /// Positions that the model has a vector for; 0 when it adds none.
  int64_t positions() const { return positions_ ? positions_->shape[0] : 0; }
  /// out [tokens, hidden] = scale * row of each token + row of each position; tokens must be below vocabulary(),
  /// positions below positions() if there are any.
  void look_up(std::span<const int32_t> tokens, std::span<const int32_t> positions, float* out) const;

 private:
  std::string name_;
  core::TensorView table_;
  std::optional<core::TensorView> positions_;
  float scale_ = 1;
};

}  // namespace lamina::layers

#pragma once

#include <span>
#include <string>

#include "core/tensor.h"
#include "layers/weights.h"

namespace lamina::layers {

/// The table that turns tokens into the stream. Rows are decoded from the mapped file when they are needed.
class Embedding {
 public:
  /// Reads {weight, hidden, scale}. The number of rows is the vocabulary.
  static core::Result<Embedding> make(Record record, Weights& weights);

  int64_t vocabulary() const { return table_.shape[0]; }
  int64_t hidden() const { return table_.shape[1]; }
  const std::string& name() const { return name_; }
  const core::TensorView& table() const { return table_; }
  /// out [tokens, hidden] = scale * row of each token; tokens must be below vocabulary().
  void look_up(std::span<const int32_t> tokens, float* out) const;

 private:
  std::string name_;
  core::TensorView table_;
  float scale_ = 1;
};

}  // namespace lamina::layers

#pragma once

#include <memory>

#include "layers/embedding.h"
#include "layers/norm.h"
#include "layers/step.h"

namespace lamina::layers {

/// The last norm and the product that turns the stream into logits.
class Head {
 public:
  /// Reads {norm, weight, bias?, tied?, scale?, soft_cap?}. A tied head, or one whose tensor is absent in a container
  /// that leaves tied heads out, uses the embedding's table.
  static core::Result<Head> make(Record record, const Embedding& embedding, Weights& weights);

  const Linear& linear() const { return *linear_; }
  bool tied() const { return tied_; }
  /// logits [rows, vocabulary] of x [rows, hidden]; overwrites x with its norm.
  void forward(Step& step, float* x, int64_t rows, float* logits) const;

 private:
  Norm norm_;
  std::shared_ptr<const Linear> linear_;
  bool tied_ = false;
  float scale_ = 1;
  float soft_cap_ = 0;
};

}  // namespace lamina::layers

#pragma once

#include "kernels/activation.h"
#include "layers/record.h"

namespace lamina::layers {

/// How a gated MLP joins its two products: activation(gate) * up, or with both bounded (kernels::GateBounds).
class Gating {
 public:
  /// Reads {activation, limit?, up_offset?}; limit 0: no bounds.
  static core::Result<Gating> make(Record& record);

  /// gate = joined, over `size` numbers.
  void apply(float* gate, const float* up, int64_t size) const;

 private:
  kernels::Activation activation_ = kernels::Activation::kSilu;
  kernels::GateBounds bounds_;
  bool bounded_ = false;
};

}  // namespace lamina::layers

#pragma once

#include <string>
#include <vector>

#include "layers/record.h"
#include "layers/weights.h"

namespace lamina::layers {

/// A norm over the last dimension: "rms" or "layer", with its weight and bias.
class Norm {
 public:
  /// Reads {kind, epsilon, weight, bias?, offset?}; offset is added to the weight ("1 + weight" families).
  static core::Result<Norm> make(Record record, Weights& weights, int64_t size);

  /// out[row] = norm(x[row]) for `rows` rows of `size` numbers; x and out may be the same.
  void apply(const float* x, float* out, int64_t rows) const;
  int64_t size() const { return size_; }

 private:
  using Kernel = void (*)(const Norm& norm, const float* x, float* out);
  friend void apply_rms(const Norm& norm, const float* x, float* out);
  friend void apply_layer(const Norm& norm, const float* x, float* out);

  int64_t size_ = 0;
  float epsilon_ = 0;
  std::vector<float> weight_;
  std::vector<float> bias_;
  Kernel kernel_ = nullptr;
};

}  // namespace lamina::layers

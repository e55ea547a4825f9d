#pragma once

#include <optional>
#include <string>

#include "kernels/activation.h"
#include "layers/norm.h"
#include "layers/step.h"
#include "layers/weights.h"

namespace lamina::layers {

/// How a sublayer meets the stream: a norm before it, a norm after it, a factor on what it adds, a norm of the sum (the
/// post-norm of Vaswani et al. 2017). Each is optional.
class Border {
 public:
  /// Reads {norm?, post_norm?, multiplier?, stream_norm?}.
  static core::Result<Border> make(Record& record, Weights& weights, int64_t hidden);

  /// norm(input), taken from the arena, or the input itself.
  const float* enter(Step& step, const float* input) const;
  /// stream = stream_norm(stream + multiplier * post_norm(x W^T + b)), where x [rows, last.inputs()].
  void leave(Step& step, const Linear& last, const float* x, float* stream) const;
  /// stream = stream_norm(stream + multiplier * post_norm(sum)); overwrites sum.
  void add(Step& step, float* sum, float* stream) const;
  /// Arena bytes of enter() and of leave() without its product.
  int64_t arena_bytes(int64_t rows) const;

 private:
  int64_t hidden_ = 0;
  float multiplier_ = 1;
  std::optional<Norm> before_;
  std::optional<Norm> after_;
  std::optional<Norm> stream_;
};

/// The activation of that name in configuration files, or an error that names it.
core::Result<kernels::Activation> find_activation(const std::string& name, const std::string& place);

}  // namespace lamina::layers

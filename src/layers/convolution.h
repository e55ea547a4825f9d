#pragma once

#include <vector>

#include "kernels/recurrence.h"
#include "layers/weights.h"

namespace lamina::layers {

/// A causal convolution of each channel by itself, whose last inputs are a state.
class Convolution {
 public:
  /// Reads {weight [channels, width], bias?, width}.
  static core::Result<Convolution> make(Record record, Weights& weights, int64_t channels);

  /// Numbers of the state: the last width - 1 rows.
  int64_t state_floats() const { return (width_ - 1) * channels_; }
  /// Channels [begin, end) of the rows in `args`, whose x, state and out are those of channel 0.
  void apply(kernels::ConvolutionArgs args, int64_t begin, int64_t end) const;

 private:
  int64_t channels_ = 0;
  int64_t width_ = 0;
  std::vector<float> weights_;  ///< [width, channels]
  std::vector<float> bias_;
};

}  // namespace lamina::layers

#pragma once

#include <string>
#include <vector>

#include "kernels/activation.h"
#include "layers/step.h"
#include "layers/weights.h"

namespace lamina::layers {

/// A matrix of features over time, such as a mel spectrogram: values [features, count].
struct Frames {
  const float* values = nullptr;
  int64_t count = 0;
};

/// What turns frames into rows of the stream: convolutions over time, one after another, each with an activation
/// (Radford et al. 2022, section 2.2). Windows are centred: the frames before the first and after the last are zeros.
class FrameConvolutions {
 public:
  /// Reads {features, order: [names], <name>: {weight [outputs, inputs, width], bias?, outputs, width, stride,
  /// activation}}; the last one's outputs must be `hidden`.
  static core::Result<FrameConvolutions> make(Record record, Weights& weights, int64_t hidden);

  int64_t features() const { return features_; }
  /// Rows that so many frames make.
  int64_t rows(int64_t frames) const;
  /// out [rows(frames.count), hidden].
  void forward(Step& step, const Frames& frames, float* out) const;
  /// Arena bytes of forward() for at most so many rows, and scratch bytes per thread.
  int64_t arena_bytes(int64_t rows) const;
  int64_t scratch_bytes(int64_t rows) const;

 private:
  struct Stage {
    std::shared_ptr<const Linear> linear;  ///< [outputs, inputs * width]
    int64_t inputs = 0;
    int64_t outputs = 0;
    int64_t width = 0;
    int64_t stride = 0;
    kernels::Activation activation = kernels::Activation::kIdentity;

    int64_t rows(int64_t frames) const { return (frames - 1) / stride + 1; }
  };
  static core::Result<Stage> make_stage(Record record, Weights& weights, int64_t inputs);
  /// The most rows that enter each stage when at most `rows` leave the last one; one number more than stages.
  std::vector<int64_t> most_rows(int64_t rows) const;
  void run_stage(Step& step, const Stage& stage, const Frames& in, float* out) const;

  int64_t features_ = 0;
  std::vector<Stage> stages_;
};

}  // namespace lamina::layers

#include "kernels/recurrence.h"

#include <cmath>

namespace lamina::kernels::ref {

namespace {

/// Row `index` of a channel's inputs; those before the first row are in the state.
float input(const ConvolutionArgs& args, int64_t index, int64_t channel) {
  if (index < 0) return args.state[(args.width - 1 + index) * args.state_stride + channel];
  return args.x[index * args.x_stride + channel];
}

void convolve(const ConvolutionArgs& args) {
  for (int64_t t = 0; t < args.rows; ++t) {
    for (int64_t i = 0; i < args.channels; ++i) {
      float sum = args.bias == nullptr ? 0.0F : args.bias[i];
      for (int64_t k = 0; k < args.width; ++k) {
        sum = std::fma(args.weights[k * args.weight_stride + i], input(args, t - args.width + 1 + k, i), sum);
      }
      args.out[t * args.out_stride + i] = sum;
    }
  }
  // Ascending, so that a row of the state is read before it is written.
  for (int64_t k = 0; k < args.width - 1; ++k) {
    for (int64_t i = 0; i < args.channels; ++i) {
      args.state[k * args.state_stride + i] = input(args, args.rows - args.width + 1 + k, i);
    }
  }
}

void scan(const ScanArgs& args) {
  for (int64_t t = 0; t < args.rows; ++t) {
    const float* x = args.x + t * args.x_stride;
    const float* b = args.b + t * args.bc_stride;
    const float* c = args.c + t * args.bc_stride;
    const float decay = args.decays[t * args.step_stride];
    for (int64_t p = 0; p < args.head_size; ++p) {
      const float u = x[p] * args.steps[t * args.step_stride];
      float y = 0;
      for (int64_t n = 0; n < args.state_size; ++n) {
        float& h = args.state[n * args.head_size + p];
        h = std::fma(u, b[n], h * decay);
        y = std::fma(h, c[n], y);
      }
      args.out[t * args.out_stride + p] = std::fma(args.skip, x[p], y);
    }
  }
}

}  // namespace

const RecurrenceVariant kRecurrence{core::Isa::kScalar, convolve, scan};

}  // namespace lamina::kernels::ref

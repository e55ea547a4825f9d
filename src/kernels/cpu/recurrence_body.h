#pragma once

#include "kernels/cpu/loop_body.h"
#include "kernels/recurrence.h"

/// ref/recurrence.cpp on 16 lanes of channels or of a head's numbers. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

/// Row `index` of the inputs of channels from `channel` on; those before the first row are in the state.
inline const float* input_row(const ConvolutionArgs& args, int64_t index, int64_t channel) {
  if (index < 0) return args.state + (args.width - 1 + index) * args.state_stride + channel;
  return args.x + index * args.x_stride + channel;
}

template <typename L>
void convolve_rows(const ConvolutionArgs& args) {
  for_lanes(args.channels, [&](int64_t i, int64_t n) {
    const auto bias = args.bias == nullptr ? L::zero() : load_some<L>(args.bias + i, n);
    for (int64_t t = 0; t < args.rows; ++t) {
      auto sum = bias;
      for (int64_t k = 0; k < args.width; ++k) {
        const auto weight = load_some<L>(args.weights + k * args.weight_stride + i, n);
        sum = L::fma(weight, load_some<L>(input_row(args, t - args.width + 1 + k, i), n), sum);
      }
      store_some<L>(args.out + t * args.out_stride + i, sum, n);
    }
    for (int64_t k = 0; k < args.width - 1; ++k) {
      store_some<L>(args.state + k * args.state_stride + i,
                    load_some<L>(input_row(args, args.rows - args.width + 1 + k, i), n), n);
    }
  });
}

/// kGroups groups of 16 numbers of a head, or one of `n`: their part of the state stays in the first-level cache.
template <typename L, int kGroups>
void scan_lanes(const ScanArgs& args, int64_t first, int64_t n) {
  using V = typename L::V;
  for (int64_t t = 0; t < args.rows; ++t) {
    const float* b = args.b + t * args.bc_stride;
    const float* c = args.c + t * args.bc_stride;
    const V decay = L::all(args.decays[t * args.step_stride]);
    const V step = L::all(args.steps[t * args.step_stride]);
    V x[kGroups];
    V u[kGroups];
    V y[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      x[g] = load_some<L>(args.x + t * args.x_stride + first + 16 * g, n);
      u[g] = L::mul(x[g], step);
      y[g] = L::zero();
    }
    float* state = args.state + first;
    for (int64_t i = 0; i < args.state_size; ++i, state += args.head_size) {
      const V in = L::all(b[i]);
      const V read = L::all(c[i]);
      for (int g = 0; g < kGroups; ++g) {
        const V h = L::fma(u[g], in, L::mul(load_some<L>(state + 16 * g, n), decay));
        store_some<L>(state + 16 * g, h, n);
        y[g] = L::fma(h, read, y[g]);
      }
    }
    for (int g = 0; g < kGroups; ++g) {
      store_some<L>(args.out + t * args.out_stride + first + 16 * g, L::fma(L::all(args.skip), x[g], y[g]), n);
    }
  }
}

template <typename L>
void scan_rows(const ScanArgs& args) {
  int64_t first = 0;
  for (; first + 32 <= args.head_size; first += 32) scan_lanes<L, 2>(args, first, 16);
  for (; first < args.head_size; first += 16) {
    const int64_t rest = args.head_size - first;
    scan_lanes<L, 1>(args, first, rest < 16 ? rest : 16);
  }
}

template <typename L>
constexpr RecurrenceVariant recurrence_variant(core::Isa isa) {
  return {isa, convolve_rows<L>, scan_rows<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

#pragma once

#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <vector>

#include "core/memory.h"
#include "kernels/linear_format.h"
#include "kernels/quantize.h"

/// What the benchmarks of matrix products share.
namespace lamina::kernels {

struct Shape {
  int64_t outputs;
  int64_t inputs;
};

/// A codec that only names its blocks: packed panels are filled directly.
inline codec::Codec bare_codec(const PanelFormat& format) {
  codec::Codec codec;
  codec.format = {format.codec, format.block, format.block_bytes};
  return codec;
}

/// A matrix in `variant`'s panels, as often as it takes to fill `least_bytes`, and rows of activations.
struct Setup {
  codec::Codec codec;
  WeightLayout layout;
  core::AlignedBuffer packed;
  core::AlignedBuffer activations;
  std::vector<float> y;
  int64_t copies = 1;

  Setup(const LinearVariant& variant, Shape shape, int64_t rows, int64_t least_bytes)
      : codec(bare_codec(*find_panel_format(variant.codec))) {
    layout = weight_layout(codec, shape.outputs, shape.inputs, variant.activation == InputForm::kFloat).value();
    layout.variant = &variant;
    copies = least_bytes / layout.bytes() + 1;
    packed = core::AlignedBuffer::allocate(static_cast<size_t>(copies * layout.bytes())).value();
    auto* words = packed.as<uint32_t>();
    uint32_t state = 1;
    // Exponents stay small in every 16-bit field, so that no scale is infinite.
    for (size_t i = 0; i < packed.size() / 4; ++i) words[i] = (state = state * 1664525U + 1013904223U) & 0x3bff3bffU;
    const ActivationLayout form = activation_layout(layout);
    activations = core::AlignedBuffer::allocate(static_cast<size_t>(form.row_bytes * rows)).value();
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(shape.inputs * rows));
    for (float& value : x) value = normal(random);
    quantize_rows(form, x.data(), shape.inputs, rows, activations.data());
    y.resize(static_cast<size_t>(shape.outputs * rows));
  }

  LinearArgs args(int64_t rows, int64_t copy) {
    LinearArgs args;
    args.layout = &layout;
    args.packed = packed.data() + copy * layout.bytes();
    args.panel_end = layout.panels;
    args.activations = activations.data();
    args.rows = rows;
    args.y = y.data();
    args.y_stride = layout.outputs;
    return args;
  }
};

/// Times one row's product with a dense matrix in the layout that this machine gives it, in copies that take
/// `least_bytes` together. Returns that layout.
inline WeightLayout time_dense_row(benchmark::State& state, const codec::Codec& codec, Shape shape,
                                   int64_t least_bytes) {
  const WeightLayout best = weight_layout(codec, shape.outputs, shape.inputs).value();
  Setup setup(*best.variant, shape, 1, least_bytes);
  core::AlignedBuffer scratch =
      core::AlignedBuffer::allocate(static_cast<size_t>(linear_scratch_bytes(setup.layout, 1))).value();
  int64_t copy = 0;
  for (auto _ : state) {
    LinearArgs args = setup.args(1, copy);
    args.scratch = scratch.data();
    linear(args);
    copy = copy + 1 < setup.copies ? copy + 1 : 0;
    benchmark::ClobberMemory();
  }
  return best;
}

}  // namespace lamina::kernels

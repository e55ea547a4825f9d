#pragma once

#include "kernels/columns.h"
#include "kernels/linear_driver.h"
#include "kernels/quantize.h"

/// linear() for matrices that lie input by input. Internal linkage, as linear_driver.h.
namespace lamina::kernels {
namespace {

/// A chunk of a panel as float32 [inputs][16].
inline void unpack_columns(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t input,
                           int64_t inputs, std::byte* out) {
  widen_columns(columns_of(layout), packed,
                {.output = panel * kPanel, .input = input, .inputs = smaller(inputs, layout.inputs - input)},
                reinterpret_cast<float*>(out));
}

/// Each row reads the columns of its own inputs.
inline void run_each(const LinearArgs& args) {
  const ColumnLayout layout = columns_of(*args.layout);
  const int64_t row_bytes = activation_layout(*args.layout).row_bytes;
  const int64_t inputs = LargestRow::of(layout.inputs, args.layout->kept).inputs;
  auto* sums = reinterpret_cast<float*>(args.scratch);
  for (int64_t r = 0; r < args.rows; ++r) {
    const std::byte* row = args.activations + r * row_bytes;
    const auto* active = reinterpret_cast<const int32_t*>(row + inputs);
    column_product({.layout = &layout,
                    .packed = args.packed,
                    .begin = args.panel_begin * kPanel,
                    .end = args.panel_end * kPanel,
                    .x = reinterpret_cast<const float*>(row),
                    .active = {active, static_cast<size_t>(args.layout->kept)},
                    .y = sums});
    finish_rows(args, args.panel_begin, args.panel_end - args.panel_begin, r, 1, sums + args.panel_begin * kPanel);
  }
}

/// Up to so many rows read less when each reads its own columns; more share what is widened once for all.
constexpr int64_t kApart = 3;

template <class Kernel>
void run_columns(const LinearArgs& args) {
  args.rows <= kApart ? run_each(args) : run_tiled<Kernel>(args);
}

template <class Kernel>
int64_t column_scratch_bytes(const WeightLayout& layout, int64_t rows) {
  const int64_t sums = layout.panels * kPanel * static_cast<int64_t>(sizeof(float));
  const int64_t tiles = tiled_scratch_bytes<Kernel>(layout, rows);
  return sums > tiles ? sums : tiles;
}

}  // namespace
}  // namespace lamina::kernels

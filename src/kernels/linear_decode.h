#pragma once

#include "kernels/linear_format.h"

/// Slow paths that work for every codec; compiled once, without instruction-set flags.
namespace lamina::kernels {

/// Inputs that decode_panel_chunk decodes at a time.
int64_t decoded_chunk(const WeightLayout& layout);

/// Decodes chunk `index` of a panel (any codec without a panel format, rows in file layout) to float32
/// [inputs][16], absent outputs as zeros. `rows` is scratch of decoded_chunk floats.
void decode_panel_chunk(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index, float* rows,
                        float* out);

}  // namespace lamina::kernels

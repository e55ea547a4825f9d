#include "kernels/linear_decode.h"

#include <algorithm>

#include "kernels/columns.h"

namespace lamina::kernels {

namespace {

void decode_block_row(const WeightLayout& layout, const std::byte* panel, int64_t lane, float* out) {
  const PanelFormat& format = *layout.format;
  for (int64_t b = 0; b < layout.inputs / 32; ++b) {
    const BlockChunk chunk = block_chunk(format, layout.inputs, panel, b / 8);
    const float scale = format.widen_scale(load_as<uint16_t>(chunk.scale, b % 8 * kPanel + lane));
    const float low = format.minimum ? half_to_float(load_as<uint16_t>(chunk.minimum, b % 8 * kPanel + lane)) : 0.0F;
    for (int64_t k = 0; k < 32; ++k) {
      const int q = format.number(block_raw(format, chunk, b % 8, k, lane));
      const float product = static_cast<float>(q) * scale;
      out[32 * b + k] = format.minimum ? product + low : product;
    }
  }
}

void decode_super_row(const WeightLayout& layout, const std::byte* panel, int64_t lane, float* out) {
  const PanelFormat& format = *layout.format;
  for (int64_t b = 0; b < layout.inputs / 256; ++b) {
    const SuperUnit unit = super_unit(format, panel, b);
    const float d = half_to_float(load_as<uint16_t>(unit.d, lane)) * format.factor;
    const float dmin = format.minimum ? half_to_float(load_as<uint16_t>(unit.dmin, lane)) : 0.0F;
    for (int64_t s = 0; s < 16; ++s) {
      const float scale = d * static_cast<float>(super_scale(format, unit, s, lane));
      const float low = dmin * static_cast<float>(super_minimum(format, unit, s, lane));
      for (int64_t k = 16 * s; k < 16 * s + 16; ++k) {
        const float product = scale * static_cast<float>(super_number(format, unit, k, lane));
        out[256 * b + k] = format.minimum ? product - low : product;
      }
    }
  }
}

void decode_float_row(const WeightLayout& layout, const std::byte* panel, int64_t lane, float* out) {
  const PanelFormat& format = *layout.format;
  for (int64_t k = 0; k < layout.inputs; ++k) {
    const int64_t at = k * kPanel + lane;
    out[k] = format.widen(format.block_bytes == 4 ? load_as<uint32_t>(panel, at) : load_as<uint16_t>(panel, at));
  }
}

void decode_pair_row(const WeightLayout& layout, const std::byte* panel, int64_t lane, float* out) {
  for (int64_t k = 0; k < layout.inputs; ++k)
    out[k] = layout.format->widen(load_as<uint16_t>(panel, (k / 2 * kPanel + lane) * 2 + k % 2));
}

}  // namespace

void decode_row(const WeightLayout& layout, const std::byte* packed, int64_t output, float* out) {
  if (layout.by_input) {
    decode_columns(columns_of(layout), packed, {.output = output, .inputs = layout.inputs}, out);
    return;
  }
  const std::byte* panel = packed + output / kPanel * layout.panel_bytes;
  const int64_t lane = output % kPanel;
  if (layout.format == nullptr) {
    layout.codec->decode(panel + lane * (layout.panel_bytes / kPanel), layout.inputs, out);
  } else if (layout.format->kind == PanelKind::kBlock) {
    decode_block_row(layout, panel, lane, out);
  } else if (layout.format->kind == PanelKind::kSuper) {
    decode_super_row(layout, panel, lane, out);
  } else if (layout.format->kind == PanelKind::kPair) {
    decode_pair_row(layout, panel, lane, out);
  } else {
    decode_float_row(layout, panel, lane, out);
  }
}

int64_t decoded_chunk(const WeightLayout& layout) {
  const int64_t block = layout.codec->format.block_elements;
  return (kChunk + block - 1) / block * block;
}

void decode_panel_chunk(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index, float* rows,
                        float* out) {
  const int64_t step = decoded_chunk(layout);
  const int64_t length = std::min(step, layout.inputs - index * step);
  const int64_t present = std::min(kPanel, layout.outputs - panel * kPanel);
  const int64_t row_bytes = layout.panel_bytes / kPanel;
  const std::byte* first = packed + panel * layout.panel_bytes + layout.codec->format.row_bytes(index * step);
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    if (lane < present) {
      layout.codec->decode(first + lane * row_bytes, length, rows);
    } else {
      std::fill_n(rows, length, 0.0F);
    }
    for (int64_t k = 0; k < length; ++k) out[k * kPanel + lane] = rows[k];
  }
}

}  // namespace lamina::kernels

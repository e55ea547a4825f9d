#include "kernels/ref/linear.h"

#include <cmath>
#include <vector>

#include "kernels/linear_format.h"
#include "kernels/quantize.h"

namespace lamina::kernels::ref {

namespace {

float float_sum(const WeightLayout& layout, const std::byte* weights, const std::byte* activations) {
  std::vector<float> decoded(static_cast<size_t>(layout.inputs));
  layout.codec->decode(weights, layout.inputs, decoded.data());
  float y = 0.0F;
  for (int64_t k = 0; k < layout.inputs; ++k) {
    y = std::fma(decoded[static_cast<size_t>(k)], load_as<float>(activations, k), y);
  }
  return y;
}

/// The order of the processors' own instruction, odd input first; an odd count ends with a zero in its place.
float pair_sum(const WeightLayout& layout, const std::byte* weights, const std::byte* activations) {
  const auto number = [&](const std::byte* from, int64_t k) {
    return k < layout.inputs ? std::bit_cast<float>(uint32_t{load_as<uint16_t>(from, k)} << 16) : 0.0F;
  };
  float y = 0.0F;
  for (int64_t k = 0; k < layout.inputs; k += 2) {
    y = std::fma(number(weights, k + 1), number(activations, k + 1), y);
    y = std::fma(number(weights, k), number(activations, k), y);
  }
  return y;
}

float block_sum(const WeightLayout& layout, const std::byte* weights, const std::byte* activations) {
  const PanelFormat& format = *layout.format;
  const BlockRow row = BlockRow::of(layout.inputs);
  float y = 0.0F;
  for (int64_t b = 0; b < layout.inputs / 32; ++b) {
    BlockValues w;
    format.read_block(weights + b * format.block_bytes, w);
    int32_t dot = 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < 32; ++k) {
      const auto x = load_as<int8_t>(activations, 32 * b + k);
      dot += format.number(w.raw[static_cast<size_t>(k)]) * x;
      sum += x;
    }
    float p = static_cast<float>(dot) * format.widen_scale(w.scale);
    if (format.minimum) p = std::fma(static_cast<float>(sum), half_to_float(w.minimum), p);
    y = std::fma(p, load_as<float>(activations + row.scale, b), y);
  }
  return y;
}

float super_sum(const WeightLayout& layout, const std::byte* weights, const std::byte* activations) {
  const PanelFormat& format = *layout.format;
  const SuperRow row = SuperRow::of(layout.inputs);
  const bool is_signed = format.scales == ScaleForm::kSigned8 || format.scales == ScaleForm::kWide8 ||
                         format.scales == ScaleForm::kSigned4;
  float y = 0.0F;
  for (int64_t b = 0; b < layout.inputs / 256; ++b) {
    SuperValues w;
    format.read_super(weights + b * format.block_bytes, w);
    int32_t dot = 0;
    int32_t low = 0;
    for (size_t k = 0; k < 256; ++k) {
      const int32_t x = load_as<uint8_t>(activations, 256 * b + static_cast<int64_t>(k)) - 128;
      const int32_t scale = is_signed ? static_cast<int8_t>(w.scale[k / 16]) : w.scale[k / 16] - format.scale_zero;
      dot += scale * (format.books ? w.book[w.raw[k]] : format.number(w.raw[k])) * x;
      low += w.minimum[k / 16] * x;
    }
    const auto d = load_as<float>(activations + row.scale, b);
    y = std::fma(static_cast<float>(dot), half_to_float(w.d) * format.factor * d, y);
    if (format.minimum) y = std::fma(-static_cast<float>(low), half_to_float(w.dmin) * d, y);
  }
  return y;
}

}  // namespace

void linear(const LinearArgs& args, const std::byte* weights) {
  const WeightLayout& layout = *args.layout;
  const int64_t weight_row = layout.codec->format.row_bytes(layout.inputs);
  const int64_t activation_row = activation_layout(layout).row_bytes;
  const auto sum = layout.activation == InputForm::kInt8Block   ? block_sum
                   : layout.activation == InputForm::kInt8Super ? super_sum
                   : layout.activation == InputForm::kBf16      ? pair_sum
                                                                : float_sum;
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t n = 0; n < layout.outputs; ++n) {
      float value = sum(layout, weights + n * weight_row, args.activations + r * activation_row);
      if (layout.activation == InputForm::kLargest) value += 0.0F;  // no sum is -0
      if (args.bias != nullptr) value += args.bias[n];
      float& y = args.y[r * args.y_stride + n];
      y = args.accumulate ? y + value : value;
    }
  }
}

}  // namespace lamina::kernels::ref

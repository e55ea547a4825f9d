#include "kernels/quantize.h"

#include <array>
#include <cstring>

#include "kernels/largest.h"
#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const QuantizeVariant* const> quantize_variants() {
  static constexpr std::array kRows{&ref::kQuantize, LAMINA_X86_ROWS(&cpu::kQuantizeAvx2, &cpu::kQuantizeAvx512)};
  return kRows;
}

namespace {

const QuantizeVariant& chosen() {
  static const QuantizeVariant& row = strongest_row(quantize_variants());
  return row;
}

}  // namespace

void quantize_rows(const ActivationLayout& layout, const float* x, int64_t x_stride, int64_t rows, std::byte* out) {
  const QuantizeVariant& row = chosen();
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = x + r * x_stride;
    std::byte* to = out + r * layout.row_bytes;
    switch (layout.kind) {
      case InputForm::kFloat:
        std::memcpy(to, from, static_cast<size_t>(layout.inputs) * sizeof(float));
        break;
      case InputForm::kInt8Block:
        row.block_row(from, layout.inputs, to);
        break;
      case InputForm::kInt8Super:
        row.super_row(from, layout.inputs, to);
        break;
      case InputForm::kBf16:
        row.bf16_row(from, layout.inputs, to);
        break;
      case InputForm::kLargest:
        keep_largest(from, layout.inputs, layout.kept, to);
        break;
    }
  }
}

}  // namespace lamina::kernels

#include "kernels/columns.h"

#include <cmath>
#include <cstring>
#include <vector>

namespace lamina::kernels::ref {

namespace {

/// Number `output` of column `input`, as the codec would decode it.
float number(const ColumnLayout& layout, const std::byte* packed, int64_t input, int64_t output) {
  const core::NumberFormat& format = layout.codec->format;
  const std::byte* strip = packed + input / layout.strip * layout.strip_bytes();
  const std::byte* at =
      strip + layout.scale_bytes + input % layout.strip * layout.column_bytes() + output * layout.number_bytes;
  std::vector<std::byte> block(static_cast<size_t>(format.block_bytes));
  std::vector<float> decoded(static_cast<size_t>(format.block_elements));
  std::byte* to = block.data();
  if (layout.scale_bytes != 0) {
    std::memcpy(to, strip + 2 * output, 2);
    to += 2;
  }
  std::memcpy(to, at, static_cast<size_t>(layout.number_bytes));
  layout.codec->decode(block.data(), format.block_elements, decoded.data());
  return decoded.front();
}

void run(const ColumnArgs& args) {
  for (int64_t output = args.begin; output < args.end; ++output) {
    float y = 0.0F;
    for (const int32_t input : args.active)
      y = std::fma(number(*args.layout, args.packed, input, output), args.x[input], y);
    args.y[output] = y;
  }
}

}  // namespace

const ColumnVariant kColumns{core::Isa::kScalar, run};

}  // namespace lamina::kernels::ref

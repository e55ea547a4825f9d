#include "kernels/columns.h"

#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/variant.h"

namespace lamina::kernels {

namespace {

constexpr int64_t kLanes = 16;

/// How the numbers of a format lie: the bytes of one, and where a block has its scale and its numbers.
struct Form {
  std::string_view codec;
  int64_t number_bytes = 0;
  int64_t scale_bytes = 0;
};
constexpr std::array kForms{Form{"f32", 4, 0}, Form{"f16", 2, 0}, Form{"bf16", 2, 0}, Form{"q8_0", 1, 2}};

}  // namespace

core::Result<ColumnLayout> column_layout(const codec::Codec& codec, int64_t outputs, int64_t inputs) {
  const core::NumberFormat& numbers = codec.format;
  const Form* form = nullptr;
  for (const Form& row : kForms) form = row.codec == numbers.name ? &row : form;
  if (form == nullptr) {
    return core::fail(core::ErrorCode::kUnsupported, numbers.name,
                      "cannot lie input by input; f32, f16, bf16 or q8_0 expected");
  }
  if (outputs <= 0 || inputs <= 0 || inputs % numbers.block_elements != 0) {
    return core::fail(core::ErrorCode::kInvalid, numbers.name,
                      "matrix [{}, {}]; sizes above 0 and a multiple of {} inputs expected", outputs, inputs,
                      numbers.block_elements);
  }
  ColumnLayout layout;
  layout.codec = &codec;
  layout.outputs = outputs;
  layout.inputs = inputs;
  layout.width = (outputs + kLanes - 1) / kLanes * kLanes;
  layout.strip = numbers.block_elements;
  layout.scale_bytes = form->scale_bytes * layout.width;
  layout.number_bytes = form->number_bytes;
  return layout;
}

void pack_columns(const ColumnLayout& layout, const std::byte* rows, int64_t begin, int64_t end, std::byte* packed) {
  const core::NumberFormat& numbers = layout.codec->format;
  const int64_t row_bytes = numbers.row_bytes(layout.inputs);
  const auto size = static_cast<size_t>(layout.number_bytes);
  for (int64_t s = begin; s < end; ++s) {
    std::byte* scales = packed + s * layout.strip_bytes();
    std::byte* columns = scales + layout.scale_bytes;
    std::memset(scales, 0, static_cast<size_t>(layout.strip_bytes()));
    for (int64_t o = 0; o < layout.outputs; ++o) {
      const std::byte* block = rows + o * row_bytes + s * numbers.block_bytes;
      if (layout.scale_bytes != 0) {
        std::memcpy(scales + 2 * o, block, 2);
        block += 2;
      }
      for (int64_t i = 0; i < layout.strip; ++i) {
        std::memcpy(columns + i * layout.column_bytes() + o * layout.number_bytes, block + i * layout.number_bytes,
                    size);
      }
    }
  }
}

int64_t choose_inputs(std::span<const float> x, const float* norms, float threshold, int32_t* active) {
  int64_t count = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float weight = norms == nullptr ? std::fabs(x[i]) : std::fabs(x[i]) * norms[i];
    active[count] = static_cast<int32_t>(i);
    count += weight < threshold ? 0 : 1;
  }
  return count;
}

std::span<const ColumnVariant* const> column_variants() {
  static constexpr std::array kRows{&ref::kColumns, LAMINA_X86_ROWS(&cpu::kColumnsAvx2, &cpu::kColumnsAvx512)};
  return kRows;
}

void column_product(const ColumnArgs& args) {
  static const ColumnVariant& row = strongest_row(column_variants());
  assert(args.begin % kLanes == 0 && args.end % kLanes == 0 && args.end <= args.layout->width);
  row.run(args);
}

}  // namespace lamina::kernels

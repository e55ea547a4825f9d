#include "kernels/columns.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <vector>

#include "kernels/variant.h"

namespace lamina::kernels {

namespace {

/// How the numbers of a format lie: the bytes of one, and of the scale at the front of each block.
struct Form {
  std::string_view codec;
  int64_t number_bytes = 0;
  int64_t scale_bytes = 0;
};
constexpr std::array kForms{Form{"f32", 4, 0}, Form{"f16", 2, 0}, Form{"bf16", 2, 0}, Form{"q8_0", 1, 2}};

const Form* find_form(const codec::Codec& codec) {
  const auto* form = std::ranges::find(kForms, codec.format.name, &Form::codec);
  return form == kForms.end() ? nullptr : form;
}

/// Moves numbers of 1, 2 or 4 bytes with what the compiler knows to be single moves.
template <size_t kBytes>
void turn_strip(const ColumnLayout& layout, const std::byte* numbers, int64_t output, std::byte* columns) {
  std::byte* to = columns + output * layout.number_bytes;
  for (int64_t i = 0; i < layout.strip; ++i)
    std::memcpy(to + i * layout.column_bytes(), numbers + i * layout.number_bytes, kBytes);
}

}  // namespace

bool lies_by_input(const codec::Codec& codec) {
  return find_form(codec) != nullptr;
}

ColumnLayout columns_of(const WeightLayout& layout) {
  const Form* form = find_form(*layout.codec);
  assert(form != nullptr && layout.inputs % layout.codec->format.block_elements == 0);
  ColumnLayout columns;
  columns.codec = layout.codec;
  columns.outputs = layout.outputs;
  columns.inputs = layout.inputs;
  columns.width = layout.panels * kPanel;
  columns.strip = layout.codec->format.block_elements;
  columns.scale_bytes = form->scale_bytes * columns.width;
  columns.number_bytes = form->number_bytes;
  return columns;
}

void pack_columns(const ColumnLayout& layout, const std::byte* rows, int64_t begin, int64_t end, std::byte* packed) {
  const core::NumberFormat& numbers = layout.codec->format;
  const int64_t row_bytes = numbers.row_bytes(layout.inputs);
  const auto turn = layout.number_bytes == 4 ? turn_strip<4> : layout.number_bytes == 2 ? turn_strip<2> : turn_strip<1>;
  const std::vector<std::byte> none(static_cast<size_t>(numbers.block_bytes));
  for (int64_t s = 0; s < layout.inputs / layout.strip; ++s) {
    std::byte* scales = packed + s * layout.strip_bytes();
    for (int64_t output = begin; output < end; ++output) {
      const std::byte* block =
          output < layout.outputs ? rows + output * row_bytes + s * numbers.block_bytes : none.data();
      if (layout.scale_bytes != 0) {
        std::memcpy(scales + 2 * output, block, 2);
        block += 2;
      }
      turn(layout, block, output, scales + layout.scale_bytes);
    }
  }
}

void decode_columns(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out) {
  const core::NumberFormat& numbers = layout.codec->format;
  std::vector<std::byte> row(static_cast<size_t>(numbers.row_bytes(piece.inputs)));
  std::byte* to = row.data();
  for (int64_t i = 0; i < piece.inputs; ++i) {
    const int64_t input = piece.input + i;
    if (layout.scale_bytes != 0 && input % layout.strip == 0) {
      std::memcpy(to, packed + layout.strip_of(input) + 2 * piece.output, 2);
      to += 2;
    }
    std::memcpy(to, packed + layout.column_of(input) + piece.output * layout.number_bytes,
                static_cast<size_t>(layout.number_bytes));
    to += layout.number_bytes;
  }
  layout.codec->decode(row.data(), piece.inputs, out);
}

std::span<const ColumnVariant* const> column_variants() {
  static constexpr std::array kRows{&ref::kColumns, LAMINA_X86_ROWS(&cpu::kColumnsAvx2, &cpu::kColumnsAvx512)};
  return kRows;
}

namespace {

const ColumnVariant& chosen() {
  static const ColumnVariant& row = strongest_row(column_variants());
  return row;
}

}  // namespace

void column_product(const ColumnArgs& args) {
  assert(args.begin % kPanel == 0 && args.end % kPanel == 0 && args.end <= args.layout->width);
  chosen().run(args);
}

void widen_columns(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out) {
  assert(piece.output % kPanel == 0 && piece.input % layout.strip == 0);
  chosen().widen(layout, packed, piece, out);
}

}  // namespace lamina::kernels

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "codec/codec.h"
#include "core/cpu.h"
#include "kernels/linear.h"

/// Matrices that lie input by input, so that inputs that are left out are not read from memory:
/// y[output] = sum over the inputs that take part of w * x.
///
/// The sum of one output runs over the inputs in ascending order in float32, as that of linear() with exact
/// activations. With all inputs its bits are the same; with some, they are those of linear() where the others are 0.
namespace lamina::kernels {

/// A matrix [outputs, inputs] input by input. In formats with blocks, 32 inputs share scales, which lie before them.
/// A view of tables: copy it freely.
struct ColumnLayout {
  const codec::Codec* codec = nullptr;
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t width = 0;        ///< outputs of a column, a multiple of 16; those past the matrix are zeros
  int64_t strip = 1;        ///< inputs that lie together
  int64_t scale_bytes = 0;  ///< before the columns of a strip: float16 [width]
  int64_t number_bytes = 0;

  int64_t column_bytes() const { return width * number_bytes; }
  int64_t strip_bytes() const { return scale_bytes + strip * column_bytes(); }
  int64_t bytes() const { return inputs / strip * strip_bytes(); }
  /// Where the strip of an input begins, and its column.
  int64_t strip_of(int64_t input) const { return input / strip * strip_bytes(); }
  int64_t column_of(int64_t input) const { return strip_of(input) + scale_bytes + input % strip * column_bytes(); }
};

/// Whether numbers of that codec can lie input by input: f32, f16, bf16 and q8_0.
bool lies_by_input(const codec::Codec& codec);
/// The layout of a matrix whose numbers can, in whole blocks of inputs; `layout` is by_input, or names its size and
/// codec alone.
ColumnLayout columns_of(const WeightLayout& layout);

/// Lays out the outputs [begin, end) of `rows`, output 0 first, in file layout; `packed` is input 0. Both are multiples
/// of 16, at most the width; absent outputs become zeros. Such ranges are independent of each other.
void pack_columns(const ColumnLayout& layout, const std::byte* rows, int64_t begin, int64_t end, std::byte* packed);

/// A piece of a matrix: inputs from `input` on, which begins a strip, of one output or of 16.
struct ColumnPiece {
  int64_t output = 0;
  int64_t input = 0;
  int64_t inputs = 0;
};

/// Decodes one output's weights to float32 [inputs], whole strips of them, as the codec would from the file.
void decode_columns(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out);

struct ColumnArgs {
  const ColumnLayout* layout = nullptr;
  const std::byte* packed = nullptr;
  int64_t begin = 0;  ///< outputs [begin, end); both multiples of 16, at most the width
  int64_t end = 0;
  const float* x = nullptr;           ///< [inputs]
  std::span<const int32_t> active{};  ///< the inputs that take part, ascending
  float* y = nullptr;                 ///< [width]
};

/// Replaces y for the given outputs.
void column_product(const ColumnArgs& args);

/// Decodes a piece of 16 outputs to float32 [inputs][16].
void widen_columns(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out);

/// A row of the table of kernels. All rows give the same bits.
struct ColumnVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::column_product) run = nullptr;
  decltype(&kernels::widen_columns) widen = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const ColumnVariant* const> column_variants();

namespace ref {
extern const ColumnVariant kColumns;
}
namespace cpu {
extern const ColumnVariant kColumnsAvx2;
extern const ColumnVariant kColumnsAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

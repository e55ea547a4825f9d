#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "codec/codec.h"
#include "core/cpu.h"
#include "core/result.h"

/// Products of one row of activations with a matrix that lies input by input, so that inputs that are left out are not
/// read from memory: y[output] = sum over the inputs that take part of w * x.
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
};

/// The layout of a matrix in f32, f16, bf16 or q8_0. Errors: kUnsupported for other formats; an empty matrix, or inputs
/// that are not whole blocks.
core::Result<ColumnLayout> column_layout(const codec::Codec& codec, int64_t outputs, int64_t inputs);

/// Lays out the strips [begin, end) of `rows`, output 0 first, in file layout; `packed` is strip 0. Strips are
/// independent of each other.
void pack_columns(const ColumnLayout& layout, const std::byte* rows, int64_t begin, int64_t end, std::byte* packed);

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

/// Writes the inputs with |x| * norm >= threshold to `active`, ascending, and returns how many they are. `norms`: what
/// an input's column weighs; null: all the same. A threshold of 0 keeps all, and NaN is always kept.
int64_t choose_inputs(std::span<const float> x, const float* norms, float threshold, int32_t* active);

/// A row of the table of kernels. All rows give the same bits.
struct ColumnVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::column_product) run = nullptr;
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

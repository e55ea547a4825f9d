#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "kernels/linear.h"

namespace lamina::kernels {

/// Inputs that share an activation scale, by family (0 for floats).
constexpr int64_t activation_block(InputForm kind) {
  return kind == InputForm::kInt8Block ? 32 : kind == InputForm::kInt8Super ? 256 : 0;
}

/// Turns float32 rows (stride in elements) into the rows that kernels read. Each row and block is quantized alone:
/// d = amax / 127, q = round-to-nearest-even(x * 127 / amax). A block with a NaN or infinity gets d = NaN. kBf16: each
/// number rounded to nearest even. kLargest: the numbers with the largest magnitudes as they are, NaN first, of equal
/// ones those of lower inputs; the others become 0.
void quantize_rows(const ActivationLayout& layout, const float* x, int64_t x_stride, int64_t rows, std::byte* out);

/// Where the parts of a kInt8Block row begin, in bytes.
struct BlockRow {
  int64_t scale = 0;  ///< float32 d per 32 inputs; int8 q comes first, at 0
  int64_t bias = 0;   ///< int32 -128 * (sum of q) per 32 inputs
  int64_t sum = 0;    ///< float32 sum of q per 32 inputs
  int64_t bytes = 0;

  static constexpr BlockRow of(int64_t inputs) {
    const int64_t blocks = inputs / 32;
    const int64_t scale = (inputs + 63) / 64 * 64;
    return {scale, scale + 4 * blocks, scale + 8 * blocks, (scale + 12 * blocks + 63) / 64 * 64};
  }
};

/// Where the parts of a kInt8Super row begin, in bytes.
struct SuperRow {
  int64_t scale = 0;  ///< float32 d per 256 inputs; uint8 q + 128 comes first, at 0
  int64_t sum32 = 0;  ///< int16 sum of q per 32 inputs
  int64_t sum16 = 0;  ///< int16 sum of q per 16 inputs
  int64_t bytes = 0;

  static constexpr SuperRow of(int64_t inputs) {
    const int64_t blocks = inputs / 256;
    const int64_t sum32 = inputs + 4 * blocks;
    return {inputs, sum32, sum32 + 16 * blocks, (sum32 + 48 * blocks + 63) / 64 * 64};
  }
};

/// Bytes of a kBf16 row: an even count of numbers, the rest zeros.
constexpr int64_t bf16_row_bytes(int64_t inputs) {
  return (2 * inputs + 63) / 64 * 64;
}

/// Where the parts of a kLargest row begin, in bytes.
struct LargestRow {
  int64_t inputs = 0;  ///< int32: the inputs that take part, ascending; float32 numbers of all inputs come first, at 0
  int64_t bytes = 0;

  static constexpr LargestRow of(int64_t inputs, int64_t kept) {
    return {4 * inputs, (4 * (inputs + kept) + 63) / 64 * 64};
  }
};

/// A row of the table of quantizers: one row of activations each. All rows give the same bytes.
struct QuantizeVariant {
  core::Isa isa = core::Isa::kScalar;
  void (*block_row)(const float* x, int64_t inputs, std::byte* out) = nullptr;  ///< kInt8Block
  void (*super_row)(const float* x, int64_t inputs, std::byte* out) = nullptr;  ///< kInt8Super
  void (*bf16_row)(const float* x, int64_t inputs, std::byte* out) = nullptr;   ///< kBf16
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const QuantizeVariant* const> quantize_variants();

namespace ref {
extern const QuantizeVariant kQuantize;
}
namespace cpu {
extern const QuantizeVariant kQuantizeAvx2;
extern const QuantizeVariant kQuantizeAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

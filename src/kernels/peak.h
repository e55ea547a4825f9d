#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cpu.h"

/// Loops that only read or only multiply: the yardsticks that kernels are held against.
namespace lamina::kernels {

/// A row of the table of yardsticks. The loops keep every register of their kind busy and touch no memory but `read`'s.
struct PeakVariant {
  core::Isa isa = core::Isa::kScalar;
  /// Does `rounds` rounds of independent float32 multiply-adds; returns the operations done, two per multiply-add.
  int64_t (*multiply_float)(int64_t rounds) = nullptr;
  /// The same for products of unsigned and signed 8-bit integers summed to 32 bits, as the integer kernels do them.
  int64_t (*multiply_int8)(int64_t rounds) = nullptr;
  /// The same for products of bfloat16 numbers summed to float32; null where there are no instructions for it.
  int64_t (*multiply_bf16)(int64_t rounds) = nullptr;
  /// Reads [data, data + bytes) in order, bytes a multiple of 512, data aligned to 64; returns a sum that needs all of
  /// it.
  uint64_t (*read)(const std::byte* data, size_t bytes) = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const PeakVariant* const> peak_variants();
/// The strongest row that is allowed here.
const PeakVariant& peak_variant();

/// Yardsticks of tile registers: operations done in `rounds` rounds, two per multiply-add.
struct TilePeak {
  core::Isa isa = core::Isa::kScalar;
  int64_t (*registers)(int64_t rounds) = nullptr;  ///< products alone
  int64_t (*cached)(int64_t rounds) = nullptr;  ///< every tile of numbers is used twice, and comes from the first cache
};

/// Rows that this machine lacks are listed too.
std::span<const TilePeak* const> tile_peaks();
/// The row of `isa`, or null where it is not built or not allowed.
const TilePeak* tile_peak(core::Isa isa);

namespace ref {
extern const PeakVariant kPeak;
}
namespace cpu {
extern const PeakVariant kPeakAvx2;
extern const PeakVariant kPeakAvx512;
extern const PeakVariant kPeakAvx512Vnni;
extern const PeakVariant kPeakAvx512Bf16;
extern const TilePeak kPeakAmxInt8;
extern const TilePeak kPeakAmxBf16;
}  // namespace cpu

}  // namespace lamina::kernels

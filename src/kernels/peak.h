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
  /// Reads [data, data + bytes) in order, bytes a multiple of 512, data aligned to 64; returns a sum that needs all of
  /// it.
  uint64_t (*read)(const std::byte* data, size_t bytes) = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const PeakVariant* const> peak_variants();
/// The strongest row that is allowed here.
const PeakVariant& peak_variant();

namespace ref {
extern const PeakVariant kPeak;
}
namespace cpu {
extern const PeakVariant kPeakAvx2;
extern const PeakVariant kPeakAvx512;
extern const PeakVariant kPeakAvx512Vnni;
}  // namespace cpu

}  // namespace lamina::kernels

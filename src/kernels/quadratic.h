#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"

namespace lamina::kernels {

/// Quadratic forms x G x^T of a symmetric matrix, for several rows x in one pass over it.
struct QuadraticArgs {
  const double* triangle = nullptr;  ///< row i of G: its columns 0 to i, one row after another
  int64_t size = 0;                  ///< of G
  const double* rows = nullptr;      ///< [count, size]
  int64_t count = 0;
  double* out = nullptr;  ///< [count]
};

/// out = 0; for i ascending: s = the sum of G[i][j] * x[j] over j < i, out += x[i] * (2 * s + G[i][i] * x[i]).
void quadratic_forms(const QuadraticArgs& args);

/// A row of the table of kernels. All rows give the same bits: s runs in 16 lanes (index mod 16) that are then folded
/// 8-4-2-1; products and sums round one by one.
struct QuadraticVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::quadratic_forms) run = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const QuadraticVariant* const> quadratic_variants();

namespace ref {
extern const QuadraticVariant kQuadratic;
}
namespace cpu {
extern const QuadraticVariant kQuadraticAvx2;
extern const QuadraticVariant kQuadraticAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

#pragma once

#include <span>

#include "kernels/linear.h"

/// The rows that each file of kernels/cpu adds to the table.
namespace lamina::kernels {

std::span<const LinearVariant> linear_portable();
std::span<const LinearVariant> linear_avx2();
std::span<const LinearVariant> linear_block_avx2();
std::span<const LinearVariant> linear_super_avx2();
std::span<const LinearVariant> linear_block_avx2vnni();
std::span<const LinearVariant> linear_super_avx2vnni();
std::span<const LinearVariant> linear_avx512();
std::span<const LinearVariant> linear_avx512vnni();
std::span<const LinearVariant> linear_super_avx512vnni();
std::span<const LinearVariant> linear_block_amxint8();
std::span<const LinearVariant> linear_super_amxint8();
std::span<const LinearVariant> linear_avx512bf16();
/// Whether this processor's bfloat16 instruction adds in the order of ref/ (else the plain multiply-adds are chosen).
/// Call only where core::cpu_has(kAvx512Bf16).
bool bf16_dot_keeps_order();

}  // namespace lamina::kernels

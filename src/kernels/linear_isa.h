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

}  // namespace lamina::kernels

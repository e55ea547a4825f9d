#pragma once

#include <cstddef>
#include <cstdint>

namespace lamina::kernels {

/// Writes a row as InputForm::kLargest has it (LargestRow), aligned to 4 bytes: the `kept` numbers with the largest
/// magnitudes stay, NaN first and of equal ones those of lower inputs; the others become 0.
void keep_largest(const float* x, int64_t inputs, int64_t kept, std::byte* out);

}  // namespace lamina::kernels

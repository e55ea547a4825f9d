#include "kernels/cpu/linear_block_avx2.h"
#include "kernels/linear_isa.h"

namespace lamina::kernels {

std::span<const LinearVariant> linear_block_avx2vnni() {
  return kBlockRows;
}

}  // namespace lamina::kernels

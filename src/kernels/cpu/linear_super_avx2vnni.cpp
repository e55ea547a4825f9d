#include "kernels/cpu/linear_super_avx2.h"
#include "kernels/linear_isa.h"

namespace lamina::kernels {

std::span<const LinearVariant> linear_super_avx2vnni() {
  return kSuperRows;
}

}  // namespace lamina::kernels

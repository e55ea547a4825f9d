#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/norm_body.h"

namespace lamina::kernels::cpu {

const NormVariant kNormAvx512 = norm_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

#include "kernels/cpu/lanes_avx2.h"
#include "kernels/cpu/norm_body.h"

namespace lamina::kernels::cpu {

const NormVariant kNormAvx2 = norm_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

#include "kernels/cpu/activation_body.h"
#include "kernels/cpu/lanes_avx2.h"

namespace lamina::kernels::cpu {

const ActivationVariant kActivationAvx2 = activation_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

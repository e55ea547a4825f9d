#include "kernels/cpu/activation_body.h"
#include "kernels/cpu/lanes_avx512.h"

namespace lamina::kernels::cpu {

const ActivationVariant kActivationAvx512 = activation_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

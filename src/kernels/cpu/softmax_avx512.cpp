#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/softmax_body.h"

namespace lamina::kernels::cpu {

const SoftmaxVariant kSoftmaxAvx512 = softmax_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

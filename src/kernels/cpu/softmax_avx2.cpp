#include "kernels/cpu/lanes_avx2.h"
#include "kernels/cpu/softmax_body.h"

namespace lamina::kernels::cpu {

const SoftmaxVariant kSoftmaxAvx2 = softmax_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

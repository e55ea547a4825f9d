#include "kernels/cpu/lanes_avx2.h"
#include "kernels/cpu/rope_body.h"

namespace lamina::kernels::cpu {

const RopeVariant kRopeAvx2 = rope_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

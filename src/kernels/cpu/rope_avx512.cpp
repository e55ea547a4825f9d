#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/rope_body.h"

namespace lamina::kernels::cpu {

const RopeVariant kRopeAvx512 = rope_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/lanes_avx2.h"

namespace lamina::kernels::cpu {

const AttentionVariant kAttentionAvx2 = attention_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

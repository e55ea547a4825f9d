#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/lanes_avx512.h"

namespace lamina::kernels::cpu {

const AttentionVariant kAttentionAvx512 = attention_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

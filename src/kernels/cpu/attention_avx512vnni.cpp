#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/lanes_avx512.h"

namespace lamina::kernels::cpu {
namespace {

struct Avx512VnniLanes : Avx512Lanes {
  static I dot(I sums, I a, I b) { return _mm512_dpwssd_epi32(sums, a, b); }
};

}  // namespace

const AttentionVariant kAttentionAvx512Vnni = attention_variant<Avx512VnniLanes>(core::Isa::kAvx512Vnni);

}  // namespace lamina::kernels::cpu

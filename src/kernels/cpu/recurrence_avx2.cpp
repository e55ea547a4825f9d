#include "kernels/cpu/lanes_avx2.h"
#include "kernels/cpu/recurrence_body.h"

namespace lamina::kernels::cpu {

const RecurrenceVariant kRecurrenceAvx2 = recurrence_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/recurrence_body.h"

namespace lamina::kernels::cpu {

const RecurrenceVariant kRecurrenceAvx512 = recurrence_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

#include "kernels/cpu/columns_body.h"
#include "kernels/cpu/lanes_avx2.h"

namespace lamina::kernels::cpu {

const ColumnVariant kColumnsAvx2 = column_variant<Avx2Lanes>(core::Isa::kAvx2);

}  // namespace lamina::kernels::cpu

#include "kernels/cpu/columns_body.h"
#include "kernels/cpu/lanes_avx512.h"

namespace lamina::kernels::cpu {

const ColumnVariant kColumnsAvx512 = column_variant<Avx512Lanes>(core::Isa::kAvx512);

}  // namespace lamina::kernels::cpu

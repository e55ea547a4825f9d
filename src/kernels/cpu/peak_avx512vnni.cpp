#include "kernels/cpu/peak_units_avx512.h"

namespace lamina::kernels::cpu {

const PeakVariant kPeakAvx512Vnni = peak_row<Avx512VnniUnit>(core::Isa::kAvx512Vnni);

}  // namespace lamina::kernels::cpu

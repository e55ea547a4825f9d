#include "kernels/peak.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const PeakVariant* const> peak_variants() {
  static constexpr std::array kRows{&ref::kPeak,
                                    LAMINA_X86_ROWS(&cpu::kPeakAvx2, &cpu::kPeakAvx512, &cpu::kPeakAvx512Vnni)};
  return kRows;
}

const PeakVariant& peak_variant() {
  static const PeakVariant& row = strongest_row(peak_variants());
  return row;
}

}  // namespace lamina::kernels

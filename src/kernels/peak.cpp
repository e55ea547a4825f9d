#include "kernels/peak.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const PeakVariant* const> peak_variants() {
  static constexpr std::array kRows{
      &ref::kPeak, LAMINA_X86_ROWS(&cpu::kPeakAvx2, &cpu::kPeakAvx512, &cpu::kPeakAvx512Vnni, &cpu::kPeakAvx512Bf16)};
  return kRows;
}

const PeakVariant& peak_variant() {
  static const PeakVariant& row = strongest_row(peak_variants());
  return row;
}

std::span<const TilePeak* const> tile_peaks() {
#if defined(__x86_64__) && !defined(LAMINA_SCALAR_BUILD)
  static constexpr std::array kRows{&cpu::kPeakAmxInt8, &cpu::kPeakAmxBf16};
  return kRows;
#else
  return {};
#endif
}

const TilePeak* tile_peak(core::Isa isa) {
  for (const TilePeak* row : tile_peaks()) {
    if (row->isa == isa && core::isa_allowed(isa)) return row;
  }
  return nullptr;
}

}  // namespace lamina::kernels

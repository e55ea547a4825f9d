#include "kernels/quadratic.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const QuadraticVariant* const> quadratic_variants() {
  static constexpr std::array kRows{&ref::kQuadratic, LAMINA_X86_ROWS(&cpu::kQuadraticAvx2, &cpu::kQuadraticAvx512)};
  return kRows;
}

void quadratic_forms(const QuadraticArgs& args) {
  static const QuadraticVariant& row = strongest_row(quadratic_variants());
  row.run(args);
}

}  // namespace lamina::kernels

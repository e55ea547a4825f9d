#include "kernels/recurrence.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const RecurrenceVariant* const> recurrence_variants() {
  static constexpr std::array kRows{&ref::kRecurrence, LAMINA_X86_ROWS(&cpu::kRecurrenceAvx2, &cpu::kRecurrenceAvx512)};
  return kRows;
}

namespace {

const RecurrenceVariant& chosen() {
  static const RecurrenceVariant& row = strongest_row(recurrence_variants());
  return row;
}

}  // namespace

void convolve(const ConvolutionArgs& args) {
  chosen().convolve(args);
}

void scan(const ScanArgs& args) {
  chosen().scan(args);
}

}  // namespace lamina::kernels

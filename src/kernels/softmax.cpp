#include "kernels/softmax.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const SoftmaxVariant* const> softmax_variants() {
  static constexpr std::array kRows{&ref::kSoftmax, LAMINA_X86_ROWS(&cpu::kSoftmaxAvx2, &cpu::kSoftmaxAvx512)};
  return kRows;
}

namespace {

const SoftmaxVariant& chosen() {
  static const SoftmaxVariant& row = strongest_row(softmax_variants());
  return row;
}

}  // namespace

void softmax(const float* x, int64_t size, float* out) {
  chosen().softmax(x, size, out);
}

double log_sum_exp(const float* x, int64_t size) {
  return chosen().log_sum_exp(x, size);
}

int64_t argmax(const float* x, int64_t size) {
  return chosen().argmax(x, size);
}

}  // namespace lamina::kernels

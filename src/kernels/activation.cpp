#include "kernels/activation.h"

#include <array>

#include "kernels/variant.h"

namespace lamina::kernels {

std::span<const ActivationVariant* const> activation_variants() {
  static constexpr std::array kRows{&ref::kActivation, LAMINA_X86_ROWS(&cpu::kActivationAvx2, &cpu::kActivationAvx512)};
  return kRows;
}

namespace {

const ActivationVariant& chosen() {
  static const ActivationVariant& row = strongest_row(activation_variants());
  return row;
}

}  // namespace

std::string_view activation_name(Activation activation) {
  static constexpr std::array<std::string_view, 9> kNames{
      "identity", "silu", "gelu_pytorch_tanh", "gelu", "quick_gelu", "relu", "relu2", "sigmoid", "tanh"};
  return kNames[static_cast<size_t>(activation)];
}

void activate(Activation activation, const float* x, int64_t size, float* out) {
  chosen().activate(activation, x, size, out);
}

void activate_multiply(Activation activation, const float* gate, const float* up, int64_t size, float* out) {
  chosen().activate_multiply(activation, gate, up, size, out);
}

void activate_multiply_bounded(Activation activation, GateBounds bounds, const float* gate, const float* up,
                               int64_t size, float* out) {
  chosen().activate_multiply_bounded(activation, bounds, gate, up, size, out);
}

void soft_cap(const float* x, float cap, int64_t size, float* out) {
  chosen().soft_cap(x, cap, size, out);
}

void scale(const float* x, float factor, int64_t size, float* out) {
  chosen().scale(x, factor, size, out);
}

void add(const float* a, const float* b, int64_t size, float* out) {
  chosen().add(a, b, size, out);
}

void add_scaled(const float* x, float factor, int64_t size, float* out) {
  chosen().add_scaled(x, factor, size, out);
}

void multiply(const float* a, const float* b, int64_t size, float* out) {
  chosen().multiply(a, b, size, out);
}

}  // namespace lamina::kernels

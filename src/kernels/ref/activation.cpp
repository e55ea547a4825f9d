#include "kernels/activation.h"

#include "kernels/ref/math.h"

namespace lamina::kernels::ref {

namespace {

float apply(Activation activation, float x) {
  switch (activation) {
    case Activation::kIdentity:
      return x;
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kGeluTanh:
      return gelu_tanh(x);
    case Activation::kGeluErf:
      return x * normal_cdf(x);
    case Activation::kGeluQuick:
      return x * sigmoid(kGeluQuick * x);
    case Activation::kRelu:
      return x < 0.0F ? 0.0F : x;
    case Activation::kRelu2:
      return x < 0.0F ? 0.0F : x * x;
    case Activation::kSigmoid:
      return sigmoid(x);
    case Activation::kTanh:
      return ref::tanh(x);
  }
  return x;
}

void activate(Activation activation, const float* x, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = apply(activation, x[i]);
}

void activate_multiply(Activation activation, const float* gate, const float* up, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = apply(activation, gate[i]) * up[i];
}

void activate_multiply_bounded(Activation activation, GateBounds bounds, const float* gate, const float* up,
                               int64_t size, float* out) {
  const float high = bounds.limit;
  for (int64_t i = 0; i < size; ++i) {
    const float g = high < gate[i] ? high : gate[i];
    const float below = high < up[i] ? high : up[i];
    const float u = below < -high ? -high : below;
    out[i] = apply(activation, g) * (u + bounds.up_offset);
  }
}

void soft_cap(const float* x, float cap, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = cap * ref::tanh(x[i] / cap);
}

void scale(const float* x, float factor, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = x[i] * factor;
}

void add(const float* a, const float* b, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = a[i] + b[i];
}

void add_scaled(const float* x, float factor, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = std::fma(x[i], factor, out[i]);
}

void multiply(const float* a, const float* b, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = a[i] * b[i];
}

}  // namespace

const ActivationVariant kActivation{
    core::Isa::kScalar, activate, activate_multiply, activate_multiply_bounded, soft_cap, scale, add,
    add_scaled,         multiply};

}  // namespace lamina::kernels::ref

#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "core/cpu.h"

namespace lamina::kernels {

/// Functions of one number. kGeluTanh is the tanh approximation, kGeluErf the exact form, kGeluQuick x*sigmoid(1.702x),
/// kRelu2 the squared relu. NaN gives NaN.
enum class Activation { kIdentity, kSilu, kGeluTanh, kGeluErf, kGeluQuick, kRelu, kRelu2, kSigmoid, kTanh };

/// The name as configuration files of models spell it ("silu", "gelu_pytorch_tanh", "gelu", ...).
std::string_view activation_name(Activation activation);

/// out[i] = activation(x[i]). `out` may be `x`. Errors against exact arithmetic, at most: silu, sigmoid and tanh 3 ulp;
/// gelu_tanh, gelu_erf and gelu_quick 3 ulp for x >= 0 and 1.2e-7 * |x| below 0.
void activate(Activation activation, const float* x, int64_t size, float* out);
/// out[i] = activation(gate[i]) * up[i]. `out` may be either input.
void activate_multiply(Activation activation, const float* gate, const float* up, int64_t size, float* out);
/// Bounds of a gated product: gates at most `limit`, the other factor within +-limit and then moved by `up_offset`.
struct GateBounds {
  float limit = std::numeric_limits<float>::infinity();
  float up_offset = 0;
};
/// out[i] = activation(min(gate[i], limit)) * (clamp(up[i], -limit, limit) + up_offset). `out` may be either input.
void activate_multiply_bounded(Activation activation, GateBounds bounds, const float* gate, const float* up,
                               int64_t size, float* out);
/// out[i] = cap * tanh(x[i] / cap), cap > 0. `out` may be `x`.
void soft_cap(const float* x, float cap, int64_t size, float* out);
/// out[i] = x[i] * factor. `out` may be `x`.
void scale(const float* x, float factor, int64_t size, float* out);
/// out[i] = a[i] + b[i]. `out` may be either input.
void add(const float* a, const float* b, int64_t size, float* out);
/// out[i] = fma(x[i], factor, out[i]).
void add_scaled(const float* x, float factor, int64_t size, float* out);
/// out[i] = a[i] * b[i]. `out` may be either input.
void multiply(const float* a, const float* b, int64_t size, float* out);

/// A row of the table of elementwise kernels. All rows give the same bits.
struct ActivationVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::activate) activate = nullptr;
  decltype(&kernels::activate_multiply) activate_multiply = nullptr;
  decltype(&kernels::activate_multiply_bounded) activate_multiply_bounded = nullptr;
  decltype(&kernels::soft_cap) soft_cap = nullptr;
  decltype(&kernels::scale) scale = nullptr;
  decltype(&kernels::add) add = nullptr;
  decltype(&kernels::add_scaled) add_scaled = nullptr;
  decltype(&kernels::multiply) multiply = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const ActivationVariant* const> activation_variants();

namespace ref {
extern const ActivationVariant kActivation;
}
namespace cpu {
extern const ActivationVariant kActivationAvx2;
extern const ActivationVariant kActivationAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

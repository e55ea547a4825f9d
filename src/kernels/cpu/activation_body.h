#pragma once

#include "kernels/activation.h"
#include "kernels/cpu/loop_body.h"
#include "kernels/cpu/math_body.h"

/// ref/activation.cpp on 16 lanes. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

template <typename L>
typename L::V below_zero_out(typename L::V x, typename L::V kept) {
  return L::select(L::less(x, L::zero()), L::zero(), kept);
}

/// Calls run(function) with the function of `activation` on lanes, so that the loop is made once for each.
template <typename L, typename Run>
void with_activation(Activation activation, Run&& run) {
  using V = typename L::V;
  switch (activation) {
    case Activation::kIdentity:
      return run([](V x) { return x; });
    case Activation::kSilu:
      return run([](V x) { return L::mul(x, sigmoid<L>(x)); });
    case Activation::kGeluTanh:
      return run([](V x) { return gelu_tanh<L>(x); });
    case Activation::kGeluErf:
      return run([](V x) { return L::mul(x, normal_cdf<L>(x)); });
    case Activation::kGeluQuick:
      return run([](V x) { return L::mul(x, sigmoid<L>(L::mul(L::all(kGeluQuick), x))); });
    case Activation::kRelu:
      return run([](V x) { return below_zero_out<L>(x, x); });
    case Activation::kRelu2:
      return run([](V x) { return below_zero_out<L>(x, L::mul(x, x)); });
    case Activation::kSigmoid:
      return run([](V x) { return sigmoid<L>(x); });
    case Activation::kTanh:
      return run([](V x) { return tanh<L>(x); });
  }
}

template <typename L>
void activate_row(Activation activation, const float* x, int64_t size, float* out) {
  with_activation<L>(activation, [&](auto function) {
    for_lanes(size, [&](int64_t i, int64_t n) { store_some<L>(out + i, function(load_some<L>(x + i, n)), n); });
  });
}

template <typename L>
void activate_multiply_row(Activation activation, const float* gate, const float* up, int64_t size, float* out) {
  with_activation<L>(activation, [&](auto function) {
    for_lanes(size, [&](int64_t i, int64_t n) {
      store_some<L>(out + i, L::mul(function(load_some<L>(gate + i, n)), load_some<L>(up + i, n)), n);
    });
  });
}

template <typename L>
void activate_multiply_bounded_row(Activation activation, GateBounds bounds, const float* gate, const float* up,
                                   int64_t size, float* out) {
  using V = typename L::V;
  const V high = L::all(bounds.limit);
  const V low = L::all(-bounds.limit);
  const V offset = L::all(bounds.up_offset);
  with_activation<L>(activation, [&](auto function) {
    for_lanes(size, [&](int64_t i, int64_t n) {
      const V g = load_some<L>(gate + i, n);
      const V u = load_some<L>(up + i, n);
      const V below = L::select(L::less(high, u), high, u);
      const V bounded = L::select(L::less(below, low), low, below);
      store_some<L>(out + i, L::mul(function(L::select(L::less(high, g), high, g)), L::add(bounded, offset)), n);
    });
  });
}

template <typename L>
void soft_cap_row(const float* x, float cap, int64_t size, float* out) {
  const auto caps = L::all(cap);
  for_lanes(size, [&](int64_t i, int64_t n) {
    store_some<L>(out + i, L::mul(caps, tanh<L>(L::div(load_some<L>(x + i, n), caps))), n);
  });
}

template <typename L>
void scale_row(const float* x, float factor, int64_t size, float* out) {
  const auto factors = L::all(factor);
  for_lanes(size, [&](int64_t i, int64_t n) { store_some<L>(out + i, L::mul(load_some<L>(x + i, n), factors), n); });
}

template <typename L>
void add_row(const float* a, const float* b, int64_t size, float* out) {
  for_lanes(size, [&](int64_t i, int64_t n) {
    store_some<L>(out + i, L::add(load_some<L>(a + i, n), load_some<L>(b + i, n)), n);
  });
}

template <typename L>
void add_scaled_row(const float* x, float factor, int64_t size, float* out) {
  const auto factors = L::all(factor);
  for_lanes(size, [&](int64_t i, int64_t n) {
    store_some<L>(out + i, L::fma(load_some<L>(x + i, n), factors, load_some<L>(out + i, n)), n);
  });
}

template <typename L>
void multiply_row(const float* a, const float* b, int64_t size, float* out) {
  for_lanes(size, [&](int64_t i, int64_t n) {
    store_some<L>(out + i, L::mul(load_some<L>(a + i, n), load_some<L>(b + i, n)), n);
  });
}

template <typename L>
constexpr ActivationVariant activation_variant(core::Isa isa) {
  return {isa,
          activate_row<L>,
          activate_multiply_row<L>,
          activate_multiply_bounded_row<L>,
          soft_cap_row<L>,
          scale_row<L>,
          add_row<L>,
          add_scaled_row<L>,
          multiply_row<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

#pragma once

#include <cstdint>

#include "kernels/constants.h"

/// The functions of ref/math.h on 16 lanes, operation by operation. L is a Lanes struct. Inlined always: lanes of two
/// registers would travel through memory in a call.
namespace lamina::kernels::cpu {
namespace {

template <typename L>
[[gnu::always_inline]] inline typename L::V exp(typename L::V x) {
  using V = typename L::V;
  const V clamped = L::min(L::all(kExpHigh), x);
  const V t = L::fma(clamped, L::all(kLog2e), L::all(kRoundMagic));
  const V n = L::sub(t, L::all(kRoundMagic));
  const V r = L::fnma(n, L::all(kLn2Low), L::fnma(n, L::all(kLn2High), clamped));
  V p = L::all(kExp[4]);
  for (int i = 3; i >= 0; --i) p = L::fma(p, r, L::all(kExp[i]));
  p = L::add(L::fma(p, L::mul(r, r), r), L::all(1.0F));
  return L::keep(L::not_less(x, L::all(kExpLow)), L::mul(p, L::power(t)));
}

/// One number through the lanes.
template <typename L>
float exp1(float x) {
  float lanes[16];
  L::store(lanes, exp<L>(L::all(x)));
  return lanes[0];
}

template <typename L>
[[gnu::always_inline]] inline typename L::V negate(typename L::V x) {
  return L::sub(L::all(-0.0F), x);
}

template <typename L>
[[gnu::always_inline]] inline typename L::V sigmoid(typename L::V x) {
  const auto one = L::all(1.0F);
  return L::div(one, L::add(one, exp<L>(negate<L>(x))));
}

template <typename L>
[[gnu::always_inline]] inline typename L::V tanh(typename L::V x) {
  using V = typename L::V;
  const V a = L::abs(x);
  const V t = L::mul(x, x);
  V p = L::all(kTanh[4]);
  for (int i = 3; i >= 0; --i) p = L::fma(p, t, L::all(kTanh[i]));
  const V small = L::fma(L::mul(p, t), x, x);
  const V tail = L::div(L::all(2.0F), L::add(exp<L>(L::add(a, a)), L::all(1.0F)));
  const V large = L::copy_sign(L::sub(L::all(1.0F), tail), x);
  return L::select(L::less(a, L::all(kTanhSwitch)), small, large);
}

template <typename L>
[[gnu::always_inline]] inline typename L::V normal_cdf(typename L::V x) {
  using V = typename L::V;
  const V z = L::mul(x, L::all(kInverseSqrt2));
  const V a = L::abs(z);
  const V t = L::mul(z, z);
  V p = L::all(kErf[5]);
  for (int i = 4; i >= 0; --i) p = L::fma(p, t, L::all(kErf[i]));
  const V near = L::fma(p, z, L::all(0.5F));
  const V clamp = L::all(kTailClamp);
  const V b = L::select(L::less(clamp, a), clamp, a);
  V g = L::all(kTail[6]);
  for (int i = 5; i >= 0; --i) g = L::fma(g, b, L::all(kTail[i]));
  const V tail = L::mul(L::all(0.5F), exp<L>(negate<L>(L::add(t, g))));
  const V far = L::select(L::less(z, L::zero()), tail, L::sub(L::all(1.0F), tail));
  return L::select(L::less(a, L::all(1.0F)), near, far);
}

template <typename L>
[[gnu::always_inline]] inline typename L::V gelu_tanh(typename L::V x) {
  const auto u = L::mul(x, L::fma(L::all(kGeluCubic), L::mul(x, x), L::all(kGeluLinear)));
  return L::mul(x, sigmoid<L>(u));
}

}  // namespace
}  // namespace lamina::kernels::cpu

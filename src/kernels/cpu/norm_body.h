#pragma once

#include "kernels/cpu/loop_body.h"
#include "kernels/norm.h"

/// ref/norm.cpp on 16 lanes. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

template <typename L>
void rms_norm_row(const float* x, const float* weight, float* out, int64_t size, float epsilon, float weight_offset) {
  using V = typename L::V;
  V sums = L::zero();
  for_lanes(size, [&](int64_t i, int64_t n) {
    const V v = load_some<L>(x + i, n);
    sums = L::fma(v, v, sums);
  });
  const float factor = 1.0F / __builtin_sqrtf(L::fold(sums) / static_cast<float>(size) + epsilon);
  const V factors = L::all(factor);
  const V offset = L::all(weight_offset);
  for_lanes(size, [&](int64_t i, int64_t n) {
    V y = L::mul(load_some<L>(x + i, n), factors);
    if (weight != nullptr) y = L::mul(y, L::add(load_some<L>(weight + i, n), offset));
    store_some<L>(out + i, y, n);
  });
}

template <typename L>
void layer_norm_row(const float* x, const float* weight, const float* bias, float* out, int64_t size, float epsilon) {
  using V = typename L::V;
  V sums = L::zero();
  for_lanes(size, [&](int64_t i, int64_t n) { sums = L::add(sums, load_some<L>(x + i, n)); });
  const V mean = L::all(L::fold(sums) / static_cast<float>(size));
  V squares = L::zero();
  for_lanes(size, [&](int64_t i, int64_t n) {
    V d = L::sub(load_some<L>(x + i, n), mean);
    if (n < 16) d = L::select(L::between(0, n), d, L::zero());
    squares = L::fma(d, d, squares);
  });
  const V factor = L::all(1.0F / __builtin_sqrtf(L::fold(squares) / static_cast<float>(size) + epsilon));
  for_lanes(size, [&](int64_t i, int64_t n) {
    V y = L::mul(L::sub(load_some<L>(x + i, n), mean), factor);
    if (weight != nullptr) y = L::mul(y, load_some<L>(weight + i, n));
    if (bias != nullptr) y = L::add(y, load_some<L>(bias + i, n));
    store_some<L>(out + i, y, n);
  });
}

template <typename L>
constexpr NormVariant norm_variant(core::Isa isa) {
  return {isa, rms_norm_row<L>, layer_norm_row<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

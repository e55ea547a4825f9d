#pragma once

#include "kernels/cpu/loop_body.h"
#include "kernels/rope.h"

/// ref/rope.cpp on 16 lanes. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

template <typename L>
struct Turned {
  typename L::V first;
  typename L::V second;
};

template <typename L>
Turned<L> turn(typename L::V a, typename L::V b, typename L::V cosine, typename L::V sine) {
  return {L::fnma(b, sine, L::mul(a, cosine)), L::fma(a, sine, L::mul(b, cosine))};
}

template <typename L>
void rope_halves(float* x, int64_t half, const float* cosines, const float* sines) {
  for_lanes(half, [&](int64_t i, int64_t n) {
    const auto a = load_some<L>(x + i, n);
    const auto b = load_some<L>(x + half + i, n);
    const auto turned = turn<L>(a, b, load_some<L>(cosines + i, n), load_some<L>(sines + i, n));
    store_some<L>(x + i, turned.first, n);
    store_some<L>(x + half + i, turned.second, n);
  });
}

template <typename L>
void rope_pairs(float* x, int64_t half, const float* cosines, const float* sines) {
  for_lanes(half, [&](int64_t i, int64_t n) {
    float* p = x + 2 * i;
    const int64_t low = n > 8 ? 16 : 2 * n;
    const int64_t high = 2 * n - low;
    const auto v = load_some<L>(p, low);
    const auto w = high > 0 ? load_some<L>(p + 16, high) : L::zero();
    const auto turned = turn<L>(L::even(v, w), L::odd(v, w), load_some<L>(cosines + i, n), load_some<L>(sines + i, n));
    store_some<L>(p, L::zip_low(turned.first, turned.second), low);
    if (high > 0) store_some<L>(p + 16, L::zip_high(turned.first, turned.second), high);
  });
}

template <typename L>
void rope_heads(const RopeArgs& args) {
  const auto turn_head = args.order == RopeOrder::kPairs ? rope_pairs<L> : rope_halves<L>;
  for (int64_t head = 0; head < args.heads; ++head) {
    turn_head(args.x + head * args.head_stride, args.rotary / 2, args.cosines, args.sines);
  }
}

template <typename L>
constexpr RopeVariant rope_variant(core::Isa isa) {
  return {isa, rope_heads<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

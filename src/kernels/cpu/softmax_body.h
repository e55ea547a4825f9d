#pragma once

#include "kernels/cpu/loop_body.h"
#include "kernels/cpu/math_body.h"
#include "kernels/softmax.h"

/// ref/softmax.cpp on 16 lanes. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

constexpr int64_t kSumChunk = 512;

template <typename L>
float row_maximum(const float* x, int64_t size) {
  using V = typename L::V;
  const V lowest = L::all(-__builtin_inff());
  V best = lowest;
  for_lanes(size, [&](int64_t i, int64_t n) {
    V v = load_some<L>(x + i, n);
    if (n < 16) v = L::select(L::between(0, n), v, lowest);
    best = L::max(best, v);
  });
  return L::top(best);
}

/// Lane sums of exp(x - top) over `size` numbers, folded; each exp goes to `out` unless that is null.
template <typename L>
float exp_sum(const float* x, int64_t size, float top, float* out) {
  using V = typename L::V;
  const V tops = L::all(top);
  V sums = L::zero();
  for_lanes(size, [&](int64_t i, int64_t n) {
    V e = exp<L>(L::sub(load_some<L>(x + i, n), tops));
    if (out != nullptr) store_some<L>(out + i, e, n);
    if (n < 16) e = L::select(L::between(0, n), e, L::zero());
    sums = L::add(sums, e);
  });
  return L::fold(sums);
}

/// exp_sum over any length: sums of 512 numbers are added in double precision.
template <typename L>
double long_exp_sum(const float* x, int64_t size, float top, float* out) {
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += kSumChunk) {
    const int64_t left = size - begin;
    float* part = out == nullptr ? nullptr : out + begin;
    total += static_cast<double>(exp_sum<L>(x + begin, left < kSumChunk ? left : kSumChunk, top, part));
  }
  return total;
}

template <typename L>
void softmax_row(const float* x, int64_t size, float* out) {
  const double sum = long_exp_sum<L>(x, size, row_maximum<L>(x, size), out);
  const auto factor = L::all(1.0F / static_cast<float>(sum));
  for_lanes(size, [&](int64_t i, int64_t n) { store_some<L>(out + i, L::mul(load_some<L>(out + i, n), factor), n); });
}

template <typename L>
double log_sum_exp_row(const float* x, int64_t size) {
  const float top = row_maximum<L>(x, size);
  return static_cast<double>(top) + __builtin_log(long_exp_sum<L>(x, size, top, nullptr));
}

template <typename L>
int64_t argmax_row(const float* x, int64_t size) {
  const auto top = L::all(row_maximum<L>(x, size));
  int64_t place = size;
  for (int64_t i = 0; i < size && place == size; i += 16) {
    const int64_t n = size - i < 16 ? size - i : 16;
    uint32_t bits = L::equal_bits(load_some<L>(x + i, n), top);
    if (n < 16) bits &= (1U << n) - 1U;
    if (bits != 0) place = i + __builtin_ctz(bits);
  }
  return place == size ? 0 : place;
}

template <typename L>
constexpr SoftmaxVariant softmax_variant(core::Isa isa) {
  return {isa, softmax_row<L>, log_sum_exp_row<L>, argmax_row<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

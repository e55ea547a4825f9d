#pragma once

#include <cstdint>

/// Loops over rows of float32 in steps of 16 lanes. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

/// Calls step(index, lanes) for each 16 numbers of a row; the last step may have fewer.
template <typename Step>
void for_lanes(int64_t size, Step&& step) {
  int64_t i = 0;
  for (; i + 16 <= size; i += 16) step(i, int64_t{16});
  if (i < size) step(i, size - i);
}

template <typename L>
typename L::V load_some(const float* p, int64_t n) {
  return n == 16 ? L::load(p) : L::load(p, n);
}

template <typename L>
void store_some(float* p, typename L::V v, int64_t n) {
  if (n == 16) {
    L::store(p, v);
  } else {
    L::store(p, v, n);
  }
}

}  // namespace
}  // namespace lamina::kernels::cpu

#include "kernels/peak.h"

#include <cstring>

namespace lamina::kernels::ref {

namespace {

constexpr int kChains = 32;

/// The compiler may neither guess `value` nor leave its computation out.
template <typename T>
void keep(T& value) {
  asm volatile("" : "+m"(value));
}

int64_t multiply_float(int64_t rounds) {
  float sums[kChains] = {};
  float factors[2] = {0.5F, 1.0F};
  keep(factors);
  keep(sums);
  const float a = factors[0];
  const float b = factors[1];
  for (int64_t i = 0; i < rounds; ++i) {
    for (float& sum : sums) sum = sum * a + b;
  }
  keep(sums);
  return rounds * kChains * 2;
}

int64_t multiply_int8(int64_t rounds) {
  int32_t sums[kChains] = {};
  int8_t a[kChains] = {1, 2, 3};
  int8_t b[kChains] = {3, 2, 1};
  for (int64_t i = 0; i < rounds; ++i) {
    keep(a);
    keep(b);
    for (int k = 0; k < kChains; ++k) sums[k] += a[k] * b[k];
  }
  keep(sums);
  return rounds * kChains * 2;
}

uint64_t read(const std::byte* data, size_t bytes) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < bytes; i += sizeof sums) {
    uint64_t words[8];
    std::memcpy(words, data + i, sizeof words);
    for (int k = 0; k < 8; ++k) sums[k] += words[k];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

const PeakVariant kPeak{
    .isa = core::Isa::kScalar, .multiply_float = multiply_float, .multiply_int8 = multiply_int8, .read = read};

}  // namespace lamina::kernels::ref

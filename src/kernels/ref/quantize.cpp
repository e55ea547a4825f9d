#include "kernels/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

namespace lamina::kernels::ref {

namespace {

constexpr uint32_t kInfinityBits = 0x7f800000;
/// Below this a block counts as zero: 127 / amax would overflow.
constexpr float kTiny = 0x1p-110f;

struct Scale {
  float forward;  ///< multiplies x
  float back;     ///< multiplies q
};

Scale block_scale(const float* x, int64_t count) {
  uint32_t bits = 0;  // magnitudes compare as integers, and NaN above infinity
  for (int64_t i = 0; i < count; ++i) bits = std::max(bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU);
  if (bits >= kInfinityBits) return {0.0F, std::numeric_limits<float>::quiet_NaN()};
  const float amax = std::bit_cast<float>(bits);
  if (amax < kTiny) return {0.0F, 0.0F};
  return {127.0F / amax, amax / 127.0F};
}

/// Rounds to nearest even without a library call: the sum has no fraction bits left.
int32_t round_even(float value) {
  return std::bit_cast<int32_t>(value + 0x1.8p23F) - 0x4b400000;
}

/// Quantizes `count` numbers to int8 plus `offset`.
void quantize_span(const float* x, int64_t count, Scale scale, int32_t offset, uint8_t* out) {
  if (scale.forward == 0.0F) {
    std::memset(out, offset, static_cast<size_t>(count));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int32_t q = std::clamp(round_even(x[i] * scale.forward), -127, 127);
    out[i] = static_cast<uint8_t>(q + offset);
  }
}

template <typename T>
void put(std::byte* out, int64_t index, T value) {
  std::memcpy(out + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

void quantize_block_row(const float* x, int64_t inputs, std::byte* out) {
  const BlockRow row = BlockRow::of(inputs);
  for (int64_t b = 0; b < inputs / 32; ++b) {
    const Scale scale = block_scale(x + 32 * b, 32);
    auto* q = reinterpret_cast<int8_t*>(out + 32 * b);
    quantize_span(x + 32 * b, 32, scale, 0, reinterpret_cast<uint8_t*>(q));
    int32_t sum = 0;
    for (int i = 0; i < 32; ++i) sum += q[i];
    put(out + row.scale, b, scale.back);
    put(out + row.bias, b, -128 * sum);
    put(out + row.sum, b, static_cast<float>(sum));
  }
}

void quantize_super_row(const float* x, int64_t inputs, std::byte* out) {
  const SuperRow row = SuperRow::of(inputs);
  for (int64_t b = 0; b < inputs / 256; ++b) {
    const Scale scale = block_scale(x + 256 * b, 256);
    auto* q = reinterpret_cast<uint8_t*>(out + 256 * b);
    quantize_span(x + 256 * b, 256, scale, 128, q);
    put(out + row.scale, b, scale.back);
    for (int64_t s = 0; s < 8; ++s) {
      std::array<int32_t, 2> sum{};
      for (int i = 0; i < 32; ++i) sum[static_cast<size_t>(i / 16)] += q[32 * s + i] - 128;
      put(out + row.sum16, 16 * b + 2 * s, static_cast<int16_t>(sum[0]));
      put(out + row.sum16, 16 * b + 2 * s + 1, static_cast<int16_t>(sum[1]));
      put(out + row.sum32, 8 * b + s, static_cast<int16_t>(sum[0] + sum[1]));
    }
  }
}

void quantize_bf16_row(const float* x, int64_t inputs, std::byte* out) {
  std::memset(out, 0, static_cast<size_t>(bf16_row_bytes(inputs)));
  for (int64_t k = 0; k < inputs; ++k) {
    const auto bits = std::bit_cast<uint32_t>(x[k]);
    const bool nan = (bits & 0x7fffffffU) > kInfinityBits;
    put(out, k, static_cast<uint16_t>(nan ? bits >> 16 | 0x40U : (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16));
  }
}

}  // namespace

const QuantizeVariant kQuantize{core::Isa::kScalar, quantize_block_row, quantize_super_row, quantize_bf16_row};

}  // namespace lamina::kernels::ref

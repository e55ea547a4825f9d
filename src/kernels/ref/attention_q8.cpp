#include "kernels/ref/attention_q8.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/ref/half.h"
#include "kernels/ref/math.h"

namespace lamina::kernels::ref {

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The largest magnitude; NaN if a number is not finite.
float magnitude(const float* x, int64_t count) {
  uint32_t bits = 0;  // magnitudes compare as integers
  for (int64_t i = 0; i < count; ++i) bits = std::max(bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU);
  return bits >= 0x7f800000U ? kNan : std::bit_cast<float>(bits);
}

/// Rounds |value| < 2^22 to nearest even: the sum has no fraction bits left.
int32_t round_even(float value) {
  return std::bit_cast<int32_t>(value + 0x1.8p23F) - 0x4b400000;
}

/// The scale of a block as its bfloat16 bits, rounded up so that amax / d is at most 127.
uint16_t block_scale(const float* x, int64_t count) {
  const float amax = magnitude(x, count);
  if (std::isnan(amax)) return 0x7fc0;
  if (amax < 127.0F * kLeastScale) return 0;
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(amax / 127.0F) + 0xffffU) >> 16);
}

void put_scale(std::byte* scales, int64_t block, int64_t index, uint16_t scale) {
  std::memcpy(scales + (block * kChunkKeys + index) * 2, &scale, 2);
}

float scale_at(const std::byte* scales, int64_t block, int64_t index) {
  uint16_t scale;
  std::memcpy(&scale, scales + (block * kChunkKeys + index) * 2, 2);
  return bfloat_to_float(scale);
}

std::byte quantized(float x, uint16_t scale) {
  if (scale == 0 || scale == 0x7fc0) return std::byte{0};
  return static_cast<std::byte>(round_even(x * (1.0F / bfloat_to_float(scale))));
}

int32_t integer(const std::byte* chunk, int64_t at) {
  return static_cast<int8_t>(chunk[at]);
}

}  // namespace

void store_key_q8(int64_t head_size, const float* key, std::byte* chunk, int64_t index) {
  for (int64_t block = 0; block < key_blocks(head_size); ++block) {
    const int64_t end = std::min((block + 1) * kKeyBlock, head_size);
    const uint16_t scale = block_scale(key + block * kKeyBlock, end - block * kKeyBlock);
    put_scale(chunk + key_scale_offset(head_size), block, index, scale);
    for (int64_t d = block * kKeyBlock; d < end; ++d) chunk[key_byte(head_size, index, d)] = quantized(key[d], scale);
  }
  for (int64_t d = head_size; d < key_stride(head_size); ++d) chunk[key_byte(head_size, index, d)] = std::byte{0};
}

void store_value_q8(int64_t value_size, const float* value, std::byte* chunk, int64_t index) {
  for (int64_t block = 0; block < value_blocks(value_size); ++block) {
    const int64_t end = std::min((block + 1) * kValueBlock, value_size);
    const uint16_t scale = block_scale(value + block * kValueBlock, end - block * kValueBlock);
    put_scale(chunk + value_scale_offset(value_size), block, index, scale);
    for (int64_t d = block * kValueBlock; d < end; ++d)
      chunk[value_byte(value_size, index, d)] = quantized(value[d], scale);
  }
  for (int64_t d = value_size; d < value_stride(value_size); ++d)
    chunk[value_byte(value_size, index, d)] = std::byte{0};
}

float key_number_q8(int64_t head_size, const std::byte* chunk, int64_t index, int64_t dimension) {
  return static_cast<float>(integer(chunk, key_byte(head_size, index, dimension))) *
         scale_at(chunk + key_scale_offset(head_size), dimension / kKeyBlock, index);
}

float value_number_q8(int64_t value_size, const std::byte* chunk, int64_t index, int64_t dimension) {
  return static_cast<float>(integer(chunk, value_byte(value_size, index, dimension))) *
         scale_at(chunk + value_scale_offset(value_size), dimension / kValueBlock, index);
}

float quantize_query(const float* query, int64_t head_size, int16_t* out) {
  std::fill_n(out, key_stride(head_size), int16_t{0});
  const float amax = magnitude(query, head_size);
  if (!(amax >= kLeastScale)) return std::isnan(amax) ? kNan : 0.0F;
  const float factor = kMost16 / amax;
  for (int64_t d = 0; d < head_size; ++d) out[d] = static_cast<int16_t>(round_even(query[d] * factor));
  return amax / kMost16;
}

float key_product(const int16_t* query, float scale, int64_t head_size, const std::byte* chunk, int64_t index) {
  float y = 0;
  for (int64_t block = 0; block < key_blocks(head_size); ++block) {
    int32_t sum = 0;
    for (int64_t d = block * kKeyBlock; d < std::min((block + 1) * kKeyBlock, head_size); ++d)
      sum += query[d] * integer(chunk, key_byte(head_size, index, d));
    y = std::fma(static_cast<float>(sum), scale_at(chunk + key_scale_offset(head_size), block, index), y);
  }
  return y * scale;
}

void add_values_q8(const float* p, int64_t begin, int64_t end, int64_t value_size, const std::byte* chunk, float decay,
                   float* out) {
  for (int64_t block = 0; block < value_blocks(value_size); ++block) {
    float weights[kChunkKeys] = {};
    float lanes[16] = {};
    for (int64_t i = begin; i < end; ++i)
      weights[i] = p[i] * scale_at(chunk + value_scale_offset(value_size), block, i);
    for (int64_t i = 0; i < kChunkKeys; ++i) lanes[i % 16] += weights[i];
    const float sum = fold16(lanes);
    const float factor = sum >= kLeastScale ? kMost16 / sum : 0.0F;
    int32_t integers[kChunkKeys];
    for (int64_t i = 0; i < kChunkKeys; ++i) integers[i] = factor == 0.0F ? 0 : round_even(weights[i] * factor);
    for (int64_t d = block * kValueBlock; d < std::min((block + 1) * kValueBlock, value_size); ++d) {
      int32_t total = 0;
      for (int64_t i = begin; i < end; ++i) total += integers[i] * integer(chunk, value_byte(value_size, i, d));
      out[d] = std::fma(static_cast<float>(total), sum / kMost16, out[d] * decay);
    }
  }
}

}  // namespace lamina::kernels::ref

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "codec/half.h"
#include "core/wide.h"

namespace lamina::codec {

/// Decodes whole blocks one after another. A block is copied first, so files need not align it.
template <typename Block>
void decode_blocks(const std::byte* blocks, int64_t elements, float* out) {
  for (int64_t done = 0; done < elements; done += Block::kElements) {
    Block block;
    std::memcpy(&block, blocks, sizeof(Block));
    decode_block(block, out + done);
    blocks += sizeof(Block);
  }
}

/// Encodes whole blocks one after another; with weights, an error in number i costs weights[i].
template <typename Block, typename... Weights>
inline void encode_each(const float* in, int64_t elements, std::byte* blocks, Weights... weights) {
  for (int64_t done = 0; done < elements; done += Block::kElements) {
    Block block{};
    encode_block(in + done, block, (weights + done)...);
    std::memcpy(blocks, &block, sizeof(Block));
    blocks += sizeof(Block);
  }
}

template <typename Block>
void encode_blocks(const float* in, int64_t elements, std::byte* blocks) {
  core::with_wide_vectors([=] { encode_each<Block>(in, elements, blocks); });
}

template <typename Block>
void encode_blocks_weighted(const float* in, const float* weights, int64_t elements, std::byte* blocks) {
  core::with_wide_vectors([=] { encode_each<Block>(in, elements, blocks, weights); });
}

/// The integer part of `value` in [0, highest]; NaN gives 0.
inline uint8_t truncate_to(float value, int highest) {
  if (!(value > 0.0f)) return 0;
  if (value >= static_cast<float>(highest)) return static_cast<uint8_t>(highest);
  return static_cast<uint8_t>(static_cast<int>(value));
}

/// 1 / scale, and 0 for 0: a block of zeros stays zeros.
inline float reciprocal_or_zero(float scale) {
  return scale == 0.0f ? 0.0f : 1.0f / scale;
}

/// The first element of largest magnitude.
inline float largest_magnitude(const float* in, int count) {
  float best = in[0];
  for (int i = 1; i < count; ++i) {
    if (std::fabs(in[i]) > std::fabs(best)) best = in[i];
  }
  return best;
}

/// Smallest and largest of `count` numbers.
struct Extremes {
  float low = 0.0f;
  float high = 0.0f;
};
inline Extremes extremes(const float* in, int count) {
  Extremes found{in[0], in[0]};
  for (int i = 1; i < count; ++i) {
    found.low = in[i] < found.low ? in[i] : found.low;
    found.high = in[i] > found.high ? in[i] : found.high;
  }
  return found;
}

}  // namespace lamina::codec

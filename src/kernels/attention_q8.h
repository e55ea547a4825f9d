#pragma once

#include <cstdint>

#include "kernels/attention.h"

/// Where the numbers of a chunk in kQ8_0 stand; attention.h has the layouts.
namespace lamina::kernels {

/// Blocks of keys or values below amax = 127 * kLeastScale count as zeros, so that no factor overflows.
inline constexpr float kLeastScale = 1e-30F;
inline constexpr float kMost16 = 32767.0F;  ///< integers of queries and probabilities lie within plus and minus this

/// Numbers of a key, rounded up to whole lanes of four.
constexpr int64_t key_stride(int64_t head_size) {
  return (head_size + 3) / 4 * 4;
}
constexpr int64_t key_blocks(int64_t head_size) {
  return (head_size + kKeyBlock - 1) / kKeyBlock;
}
constexpr int64_t value_blocks(int64_t value_size) {
  return (value_size + kValueBlock - 1) / kValueBlock;
}

/// Place in its lane of four of the number that is n-th of them.
constexpr int64_t lane_place(int64_t n) {
  return n == 1 ? 2 : n == 2 ? 1 : n;
}
/// Byte of a key's number in a chunk of keys.
constexpr int64_t key_byte(int64_t head_size, int64_t index, int64_t dimension) {
  const int64_t lanes = index / 16 * (key_stride(head_size) / 4) + dimension / 4;
  return (lanes * 16 + index % 16) * 4 + lane_place(dimension % 4);
}
/// Byte of a value's number in a chunk of values.
constexpr int64_t value_byte(int64_t value_size, int64_t index, int64_t dimension) {
  return (index / 4 * value_stride(value_size) + dimension) * 4 + lane_place(index % 4);
}
/// Where the scales begin, [block][64].
constexpr int64_t key_scale_offset(int64_t head_size) {
  return kChunkKeys * key_stride(head_size);
}
constexpr int64_t value_scale_offset(int64_t value_size) {
  return kChunkKeys * value_stride(value_size);
}

/// int16 numbers from one query in integers to the next in scratch.
constexpr int64_t query_stride(int64_t head_size) {
  return (head_size + 15) / 16 * 16;
}
/// float32 numbers of scratch for one query in integers and its scale.
constexpr int64_t query_floats(int64_t head_size) {
  return 1 + query_stride(head_size) / 2;
}

}  // namespace lamina::kernels

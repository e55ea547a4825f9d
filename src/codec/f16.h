#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// IEEE binary16.
struct BlockF16 {
  static constexpr int kElements = 1;
  uint16_t value;
};
static_assert(sizeof(BlockF16) == 2);

inline void decode_block(const BlockF16& block, float* out) {
  *out = half_to_float(block.value);
}
inline void encode_block(const float* in, BlockF16& block) {
  block.value = float_to_half(*in);
}

}  // namespace lamina::codec

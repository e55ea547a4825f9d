#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// bfloat16: the upper half of a float32.
struct BlockBf16 {
  static constexpr int kElements = 1;
  uint16_t value;
};
static_assert(sizeof(BlockBf16) == 2);

inline void decode_block(const BlockBf16& block, float* out) {
  *out = bfloat_to_float(block.value);
}
inline void encode_block(const float* in, BlockBf16& block) {
  block.value = float_to_bfloat(*in);
}

}  // namespace lamina::codec

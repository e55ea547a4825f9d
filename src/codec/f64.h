#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// 64-bit float; read only, rounded to float32.
struct BlockF64 {
  static constexpr int kElements = 1;
  double value;
};

inline void decode_block(const BlockF64& block, float* out) {
  *out = static_cast<float>(block.value);
}

}  // namespace lamina::codec

#pragma once

#include "codec/block.h"

namespace lamina::codec {

/// 8-bit float of OCP OFP8 with 4 bits of exponent: no infinities, 0x7f and 0xff are NaN, largest 448.
struct BlockF8E4m3 {
  static constexpr int kElements = 1;
  uint8_t bits;
};

/// 8-bit float with 5 bits of exponent: the upper half of an f16.
struct BlockF8E5m2 {
  static constexpr int kElements = 1;
  uint8_t bits;
};

inline void decode_block(const BlockF8E4m3& block, float* out) {
  const uint32_t sign = static_cast<uint32_t>(block.bits & 0x80) << 24;
  const uint32_t rest = block.bits & 0x7f;
  if (rest == 0x7f) {
    *out = std::bit_cast<float>(sign | 0x7ff00000u);
  } else if (rest >= 8) {
    *out = std::bit_cast<float>(sign | ((rest << 20) + (120u << 23)));
  } else {
    *out = std::bit_cast<float>(sign | std::bit_cast<uint32_t>(static_cast<float>(rest) * 0x1p-9f));
  }
}

/// To nearest, ties to even; what is too large becomes 448.
inline void encode_block(const float* in, BlockF8E4m3& block) {
  const uint32_t bits = std::bit_cast<uint32_t>(*in);
  const uint32_t sign = bits >> 24 & 0x80u;
  const uint32_t rest = bits & 0x7fffffffu;
  uint32_t code = rest > 0x7f800000u ? 0x7f : 0x7e;
  if (rest < 0x3c800000u) {  // below the smallest normal, 2^-6: whole steps of 2^-9; the sum's last bits are the steps
    const float sum = std::bit_cast<float>(rest) + 0x1.8p14f;
    code = std::bit_cast<uint32_t>(sum) - std::bit_cast<uint32_t>(0x1.8p14f);
  } else if (rest < 0x43e80000u) {  // 464
    code = (rest - (120u << 23) + 0x7ffffu + (rest >> 20 & 1u)) >> 20;
  }
  block.bits = static_cast<uint8_t>(sign | code);
}

inline void decode_block(const BlockF8E5m2& block, float* out) {
  *out = half_to_float(static_cast<uint16_t>(block.bits << 8));
}

/// To nearest, ties to even; too large becomes infinity.
inline void encode_block(const float* in, BlockF8E5m2& block) {
  const uint32_t bits = std::bit_cast<uint32_t>(*in);
  const uint32_t sign = bits >> 24 & 0x80u;
  const uint32_t rest = bits & 0x7fffffffu;
  uint32_t code = 0x7c;
  if (rest > 0x7f800000u) {
    code = 0x7f;
  } else if (rest < 0x38800000u) {  // below the smallest normal, 2^-14: whole steps of 2^-16
    const float sum = std::bit_cast<float>(rest) + 0x1.8p7f;
    code = std::bit_cast<uint32_t>(sum) - std::bit_cast<uint32_t>(0x1.8p7f);
  } else if (rest < 0x47700000u) {  // 61440, from where on infinity is nearer
    code = (rest - (112u << 23) + 0xfffffu + (rest >> 21 & 1u)) >> 21;
  }
  block.bits = static_cast<uint8_t>(sign | code);
}

}  // namespace lamina::codec

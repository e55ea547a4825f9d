#pragma once

#include <bit>
#include <cstdint>

namespace lamina::codec {

/// IEEE binary16 to float32, exact, with NaN payloads kept. Safe when the thread flushes denormals: every half
/// subnormal is a normal float32. The three cases are all computed and one is chosen, which compilers turn into vector
/// code.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t rest = half & 0x7fffu;
  const uint32_t special = 0x7f800000u | rest << 13;
  const uint32_t normal = (rest << 13) + (112u << 23);
  // 0.5 + mantissa * 2^-24 is exact in float32, so the difference is the subnormal's value.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(0x3f000000u | rest) - 0.5f);
  // Masks, because signed comparison is what every vector unit has.
  const auto is_normal = static_cast<uint32_t>(-static_cast<int32_t>(static_cast<int32_t>(rest) > 0x03ff));
  const auto is_special = static_cast<uint32_t>(-static_cast<int32_t>(static_cast<int32_t>(rest) > 0x7bff));
  const uint32_t finite = (normal & is_normal) | (subnormal & ~is_normal);
  return std::bit_cast<float>(sign | (special & is_special) | (finite & ~is_special));
}

/// float32 to IEEE binary16, to nearest, ties to even; too large becomes infinity, NaN stays NaN.
inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) {
    const uint32_t payload = rest >> 13 & 0x3ffu;
    return static_cast<uint16_t>(sign | 0x7c00u | (payload == 0 ? 0x200u : payload));
  }
  if (rest >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above
  if (rest >= 0x38800000u) {
    const uint32_t rounded = rest + 0xfffu + (rest >> 13 & 1u);
    return static_cast<uint16_t>(sign | (rounded - (112u << 23)) >> 13);
  }
  if (rest < 0x33000000u) return static_cast<uint16_t>(sign);  // below half of the smallest subnormal
  const uint32_t shift = 126u - (rest >> 23);                  // 14 for the largest subnormal's binade, 24 for the last
  const uint32_t mantissa = (rest & 0x7fffffu) | 0x800000u;
  const uint32_t floor = mantissa >> shift;
  const uint32_t remainder = mantissa & ((1u << shift) - 1u);
  const uint32_t middle = 1u << (shift - 1u);
  const uint32_t up = remainder > middle || (remainder == middle && (floor & 1u) != 0) ? 1u : 0u;
  return static_cast<uint16_t>(sign | (floor + up));
}

/// bfloat16 to float32, exact.
inline float bfloat_to_float(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

/// float32 to bfloat16, to nearest, ties to even; NaN becomes a quiet NaN.
inline uint16_t float_to_bfloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace lamina::codec

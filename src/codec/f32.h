#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lamina::codec {

/// IEEE binary32, as is.
inline void decode_f32(const std::byte* blocks, int64_t elements, float* out) {
  if (elements > 0) std::memcpy(out, blocks, static_cast<size_t>(elements) * sizeof(float));
}

inline void encode_f32(const float* in, int64_t elements, std::byte* blocks) {
  if (elements > 0) std::memcpy(blocks, in, static_cast<size_t>(elements) * sizeof(float));
}

}  // namespace lamina::codec

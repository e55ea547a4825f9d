#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"

namespace lamina::format {

/// Size of a GGUF tensor type: a row of the codec table, else one of the types that are stored but not decoded.
/// Null when the number is unknown or was removed from the format.
const core::NumberFormat* gguf_tensor_format(uint32_t type);
/// The name of a type number that was removed from the format, or empty.
std::string_view removed_gguf_type(uint32_t type);
/// The type number of a format, or -1.
int gguf_type_of(const core::NumberFormat& format);

}  // namespace lamina::format

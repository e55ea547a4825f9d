#pragma once

#include <string>
#include <string_view>

#include "core/tensor.h"

namespace lamina::format {

/// Size of a safetensors dtype such as "BF16": a row of the codec table, else one of the types that are stored but not
/// decoded. Null when the name is unknown.
const core::NumberFormat* safetensors_format(std::string_view dtype);
/// The dtype of a format, or empty when safetensors has none for it.
std::string safetensors_dtype(const core::NumberFormat& format);

}  // namespace lamina::format

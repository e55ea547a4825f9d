#pragma once

#include <string>
#include <string_view>

#include "core/tensor.h"

namespace lamina::format {

/// The metadata entry that names the tensors whose bytes are blocks of a codec: a JSON object, tensor to {"codec",
/// "shape"}. Such a tensor is U8, its last dimension the bytes of a row.
inline constexpr std::string_view kBlocksKey = "lamina.blocks";

/// Size of a safetensors dtype such as "BF16": a row of the codec table, else one of the types that are stored but not
/// decoded. Null when the name is unknown.
const core::NumberFormat* safetensors_format(std::string_view dtype);
/// The dtype of a format, or empty when safetensors has none for it.
std::string safetensors_dtype(const core::NumberFormat& format);

}  // namespace lamina::format

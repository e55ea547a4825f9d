#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"

namespace lamina::codec {

/// A number format of weights or cache: its block layout, and how blocks become float32 and back.
struct Codec {
  core::NumberFormat format;
  int gguf_type = -1;  ///< type number in GGUF files, ggml's or one of our own, -1 when the format has none
  /// Decodes `elements` numbers (whole blocks) to float32.
  void (*decode)(const std::byte* blocks, int64_t elements, float* out) = nullptr;
  /// Encodes `elements` float32 numbers (whole blocks); null when the format can only be read.
  void (*encode)(const float* in, int64_t elements, std::byte* blocks) = nullptr;
  /// The same, but the squared error of number i counts weights[i] times; null when the format has no such search.
  void (*encode_weighted)(const float* in, const float* weights, int64_t elements, std::byte* blocks) = nullptr;
};

/// All codecs, in the order that `lamina codecs` prints.
std::span<const Codec> codecs();
/// The codec of that name, or null.
const Codec* find_codec(std::string_view name);
/// The codec of a GGUF tensor type, or null.
const Codec* find_codec_by_gguf_type(uint32_t type);
/// The codec whose NumberFormat this is (TensorView::format points into the table), or null.
const Codec* codec_of(const core::NumberFormat& format);

}  // namespace lamina::codec

// Reads the input as a GGUF file: header, every metadata value in every type, and each tensor decoded to float32.

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "format/gguf.h"

namespace {

using lamina::format::Gguf;
using lamina::format::GgufValue;

constexpr int64_t kMaxDecoded = 1 << 16;

template <typename T>
void read_as(const GgufValue& value) {
  (void)value.as<T>();
  (void)value.as<std::vector<T>>();
}

void read_value(const GgufValue& value) {
  read_as<bool>(value);
  read_as<uint8_t>(value);
  read_as<int8_t>(value);
  read_as<uint32_t>(value);
  read_as<int64_t>(value);
  read_as<uint64_t>(value);
  read_as<float>(value);
  read_as<double>(value);
  read_as<std::string_view>(value);
  (void)value.describe();
  if (const auto arrays = value.as<std::vector<GgufValue>>()) {
    for (const GgufValue& array : *arrays) read_value(array);
  }
}

void decode(const lamina::core::TensorView& view) {
  const auto* codec = lamina::codec::codec_of(*view.format);
  if (codec == nullptr) return;
  const int64_t elements =
      std::min(view.elements(), kMaxDecoded / view.format->block_elements * view.format->block_elements);
  std::vector<float> values(static_cast<size_t>(elements));
  codec->decode(view.data, elements, values.data());
  // The last block must lie in the file too.
  const int64_t blocks = view.elements() / view.format->block_elements;
  codec->decode(view.data + (blocks - 1) * view.format->block_bytes, view.format->block_elements, values.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto gguf = Gguf::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
  if (!gguf) return gguf.error().message.empty() ? -1 : 0;
  for (const auto& [key, value] : gguf->metadata()) read_value(value);
  for (const auto& [name, view] : gguf->tensors()) decode(view);
  return 0;
}

// Reads the input as a safetensors file and decodes each tensor to float32; reads it as a JSON document too.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "format/json.h"
#include "format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto json = lamina::format::parse_json(text, "fuzz")) (void)json->dump();
  const auto file = lamina::format::Safetensors::from_bytes(bytes, "fuzz");
  if (!file) return 0;
  for (const auto& [name, view] : file->tensors()) {
    const auto* codec = lamina::codec::codec_of(*view.format);
    if (codec == nullptr) continue;
    if (view.bytes() > static_cast<int64_t>(size)) std::abort();
    std::vector<float> values(static_cast<size_t>(view.elements()));
    codec->decode(view.data, view.elements(), values.data());
  }
  return 0;
}

#include "format/safetensors_types.h"

#include <array>

#include "codec/codec.h"

namespace lamina::format {

namespace {

struct Dtype {
  std::string_view name;
  core::NumberFormat format;
};

constexpr std::array kDtypes{
    Dtype{"F64", {"f64", 1, 8}},         Dtype{"F32", {"f32", 1, 4}},         Dtype{"F16", {"f16", 1, 2}},
    Dtype{"BF16", {"bf16", 1, 2}},       Dtype{"F8_E4M3", {"f8_e4m3", 1, 1}}, Dtype{"F8_E5M2", {"f8_e5m2", 1, 1}},
    Dtype{"F8_E8M0", {"f8_e8m0", 1, 1}}, Dtype{"I64", {"i64", 1, 8}},         Dtype{"I32", {"i32", 1, 4}},
    Dtype{"I16", {"i16", 1, 2}},         Dtype{"I8", {"i8", 1, 1}},           Dtype{"U64", {"u64", 1, 8}},
    Dtype{"U32", {"u32", 1, 4}},         Dtype{"U16", {"u16", 1, 2}},         Dtype{"U8", {"u8", 1, 1}},
    Dtype{"BOOL", {"bool", 1, 1}},
};

}  // namespace

const core::NumberFormat* safetensors_format(std::string_view dtype) {
  for (const Dtype& known : kDtypes) {
    if (known.name != dtype) continue;
    const codec::Codec* codec = codec::find_codec(known.format.name);
    return codec != nullptr ? &codec->format : &known.format;
  }
  return nullptr;
}

std::string safetensors_dtype(const core::NumberFormat& format) {
  for (const Dtype& known : kDtypes) {
    if (known.format.name == format.name) return std::string(known.name);
  }
  return {};
}

}  // namespace lamina::format

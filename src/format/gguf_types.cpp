#include "format/gguf_types.h"

#include <array>

#include "codec/codec.h"

namespace lamina::format {

namespace {

struct StoredType {
  uint32_t type;
  core::NumberFormat format;
};

constexpr std::array kStoredTypes{
    StoredType{9, {"q8_1", 32, 40}}, StoredType{15, {"q8_k", 256, 292}}, StoredType{24, {"i8", 1, 1}},
    StoredType{25, {"i16", 1, 2}},   StoredType{26, {"i32", 1, 4}},      StoredType{27, {"i64", 1, 8}},
    StoredType{28, {"f64", 1, 8}},   StoredType{40, {"nvfp4", 64, 36}},  StoredType{41, {"q1_0", 128, 18}},
};

struct RemovedType {
  uint32_t type;
  std::string_view name;
};

constexpr std::array kRemovedTypes{
    RemovedType{4, "q4_2"},        RemovedType{5, "q4_3"},        RemovedType{31, "q4_0_4_4"},
    RemovedType{32, "q4_0_4_8"},   RemovedType{33, "q4_0_8_8"},   RemovedType{36, "iq4_nl_4_4"},
    RemovedType{37, "iq4_nl_4_8"}, RemovedType{38, "iq4_nl_8_8"},
};

}  // namespace

const core::NumberFormat* gguf_tensor_format(uint32_t type) {
  if (const codec::Codec* codec = codec::find_codec_by_gguf_type(type)) return &codec->format;
  for (const StoredType& stored : kStoredTypes) {
    if (stored.type == type) return &stored.format;
  }
  return nullptr;
}

std::string_view removed_gguf_type(uint32_t type) {
  for (const RemovedType& removed : kRemovedTypes) {
    if (removed.type == type) return removed.name;
  }
  return {};
}

int gguf_type_of(const core::NumberFormat& format) {
  if (const codec::Codec* codec = codec::codec_of(format)) return codec->gguf_type;
  for (const StoredType& stored : kStoredTypes) {
    if (stored.format.name == format.name) return static_cast<int>(stored.type);
  }
  return -1;
}

}  // namespace lamina::format

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
    StoredType{9, {"q8_1", 32, 40}},      StoredType{15, {"q8_k", 256, 292}},   StoredType{16, {"iq2_xxs", 256, 66}},
    StoredType{17, {"iq2_xs", 256, 74}},  StoredType{18, {"iq3_xxs", 256, 98}}, StoredType{19, {"iq1_s", 256, 50}},
    StoredType{20, {"iq4_nl", 32, 18}},   StoredType{21, {"iq3_s", 256, 110}},  StoredType{22, {"iq2_s", 256, 82}},
    StoredType{23, {"iq4_xs", 256, 136}}, StoredType{24, {"i8", 1, 1}},         StoredType{25, {"i16", 1, 2}},
    StoredType{26, {"i32", 1, 4}},        StoredType{27, {"i64", 1, 8}},        StoredType{28, {"f64", 1, 8}},
    StoredType{29, {"iq1_m", 256, 56}},   StoredType{34, {"tq1_0", 256, 54}},   StoredType{35, {"tq2_0", 256, 66}},
    StoredType{39, {"mxfp4", 32, 17}},    StoredType{40, {"nvfp4", 64, 36}},    StoredType{41, {"q1_0", 128, 18}},
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

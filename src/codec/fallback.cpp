#include "codec/fallback.h"

#include <array>

namespace lamina::codec {

namespace {

struct Fallback {
  std::string_view name;
  std::string_view instead;
};

/// For blocks of 256, the format of the same or more bits with blocks of 32.
constexpr std::array kFallbacks{
    Fallback{"iq2_s", "iq4_nl"}, Fallback{"iq3_xxs", "iq4_nl"}, Fallback{"iq3_s", "iq4_nl"}, Fallback{"q2_k", "iq4_nl"},
    Fallback{"q3_k", "iq4_nl"},  Fallback{"iq4_xs", "iq4_nl"},  Fallback{"cb2", "iq4_nl"},   Fallback{"q4_k", "q5_0"},
    Fallback{"q5_k", "q5_1"},    Fallback{"q6_k", "q8_0"},
};

}  // namespace

core::Result<RowCodec> codec_for_rows(const Codec& wanted, int64_t columns) {
  if (wanted.encode == nullptr) {
    return core::fail(core::ErrorCode::kUnsupported, wanted.format.name, "has no encoder; it can only be read");
  }
  if (columns % wanted.format.block_elements == 0) return RowCodec{&wanted, {}};
  const Codec* instead = nullptr;
  for (const Fallback& row : kFallbacks) {
    if (row.name == wanted.format.name) instead = find_codec(row.instead);
  }
  if (instead == nullptr || columns % instead->format.block_elements != 0) instead = find_codec("f16");
  return RowCodec{instead, fmt::format("rows of {} numbers do not divide into blocks of {}: {} instead of {}", columns,
                                       wanted.format.block_elements, instead->format.name, wanted.format.name)};
}

}  // namespace lamina::codec

#include <algorithm>
#include <array>

#include "codec/bf16.h"
#include "codec/codec.h"
#include "codec/f16.h"
#include "codec/f32.h"
#include "codec/q2_k.h"
#include "codec/q3_k.h"
#include "codec/q4_0.h"
#include "codec/q4_1.h"
#include "codec/q4_k.h"
#include "codec/q5_0.h"
#include "codec/q5_1.h"
#include "codec/q5_k.h"
#include "codec/q6_k.h"
#include "codec/q8_0.h"

namespace lamina::codec {

namespace {

template <typename Block>
constexpr Codec row(std::string_view name, int gguf_type) {
  Codec codec{{name, Block::kElements, sizeof(Block)}, gguf_type, decode_blocks<Block>, nullptr};
  if constexpr (requires(const float* in, Block& block) { encode_block(in, block); }) {
    codec.encode = encode_blocks<Block>;
  }
  return codec;
}

constexpr std::array kCodecs{
    Codec{{"f32", 1, 4}, 0, decode_f32, encode_f32},
    row<BlockF16>("f16", 1),
    row<BlockBf16>("bf16", 30),
    row<BlockQ8_0>("q8_0", 8),
    row<BlockQ6_K>("q6_k", 14),
    row<BlockQ5_K>("q5_k", 13),
    row<BlockQ5_1>("q5_1", 7),
    row<BlockQ5_0>("q5_0", 6),
    row<BlockQ4_K>("q4_k", 12),
    row<BlockQ4_1>("q4_1", 3),
    row<BlockQ4_0>("q4_0", 2),
    row<BlockQ3_K>("q3_k", 11),
    row<BlockQ2_K>("q2_k", 10),
};

template <typename Matches>
const Codec* first(Matches matches) {
  const auto found = std::ranges::find_if(kCodecs, matches);
  return found == kCodecs.end() ? nullptr : &*found;
}

}  // namespace

std::span<const Codec> codecs() {
  return kCodecs;
}

const Codec* find_codec(std::string_view name) {
  return first([&](const Codec& codec) { return codec.format.name == name; });
}

const Codec* find_codec_by_gguf_type(uint32_t type) {
  return first(
      [&](const Codec& codec) { return codec.gguf_type >= 0 && static_cast<uint32_t>(codec.gguf_type) == type; });
}

const Codec* codec_of(const core::NumberFormat& format) {
  return first([&](const Codec& codec) { return &codec.format == &format; });
}

}  // namespace lamina::codec

#include <algorithm>
#include <array>

#include "codec/bf16.h"
#include "codec/cb2.h"
#include "codec/codec.h"
#include "codec/f16.h"
#include "codec/f32.h"
#include "codec/f64.h"
#include "codec/f8.h"
#include "codec/iq1_m.h"
#include "codec/iq1_s.h"
#include "codec/iq2_s.h"
#include "codec/iq2_xs.h"
#include "codec/iq2_xxs.h"
#include "codec/iq3_s.h"
#include "codec/iq3_xxs.h"
#include "codec/iq4_nl.h"
#include "codec/iq4_xs.h"
#include "codec/mxfp4.h"
#include "codec/nvfp4.h"
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
#include "codec/tq1_0.h"
#include "codec/tq2_0.h"

namespace lamina::codec {

namespace {

/// Formats of this project have numbers from here on in GGUF files, far above those that ggml gives: programs that do
/// not know them refuse the file by the number.
constexpr int kOwnGgufTypes = 0x10000;

template <typename Block>
constexpr Codec row(std::string_view name, int gguf_type) {
  Codec codec{{name, Block::kElements, sizeof(Block)}, gguf_type, decode_blocks<Block>};
  if constexpr (requires(const float* in, Block& block) { encode_block(in, block); }) {
    codec.encode = encode_blocks<Block>;
  }
  if constexpr (requires(const float* in, Block& block) { encode_block(in, block, in); }) {
    codec.encode_weighted = encode_blocks_weighted<Block>;
  }
  return codec;
}

constexpr std::array kCodecs{
    Codec{{"f32", 1, 4}, 0, decode_f32, encode_f32},
    row<BlockF16>("f16", 1),
    row<BlockBf16>("bf16", 30),
    row<BlockF64>("f64", 28),
    row<BlockF8E4m3>("f8_e4m3", -1),
    row<BlockF8E5m2>("f8_e5m2", -1),
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
    row<BlockCb2>("cb2", kOwnGgufTypes + 2),
    row<BlockIq4Xs>("iq4_xs", 23),
    row<BlockIq4Nl>("iq4_nl", 20),
    row<BlockMxfp4>("mxfp4", 39),
    row<BlockNvfp4>("nvfp4", 40),
    row<BlockIq3S>("iq3_s", 21),
    row<BlockIq3Xxs>("iq3_xxs", 18),
    row<BlockIq2S>("iq2_s", 22),
    row<BlockIq2Xs>("iq2_xs", 17),
    row<BlockIq2Xxs>("iq2_xxs", 16),
    row<BlockIq1M>("iq1_m", 29),
    row<BlockIq1S>("iq1_s", 19),
    row<BlockTq2_0>("tq2_0", 35),
    row<BlockTq1_0>("tq1_0", 34),
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

#pragma once

#include <array>

#include "codec/iq4_nl.h"
#include "codec/mxfp4.h"
#include "kernels/cpu/linear_common_avx512.h"

/// How kernels with AVX-512 registers read the panels of block formats. Internal linkage: each including file is
/// compiled for its own instruction set.
namespace lamina::kernels {
namespace {

constexpr int64_t kBlocks = kChunk / 32;

struct HalfScales {
  static __m512 scales(const std::byte* from) { return half_scales(from); }
};

/// kShift: the raw zero is 128 >> kShift; kLift: what lifts raw numbers to a zero of 128.
struct Bytes8 : HalfScales {
  static constexpr bool kMinimum = false;
  static constexpr int kShift = 0;
  static constexpr char kLift = 0;
  static constexpr int64_t kLow = 512;
  static constexpr int64_t kHigh = 0;
  static void read(const std::byte* low, const std::byte* /*high*/, Group8& w) {
    for (int j = 0; j < 8; ++j) w[j] = load(low + 64 * j);
  }
};

struct Nibbles : HalfScales {
  static constexpr int64_t kLow = 256;
  static constexpr int64_t kHigh = 0;
  static void read(const std::byte* low, const std::byte* /*high*/, Group8& w) { read_nibbles(low, w); }
};
struct Nibbles0 : Nibbles {
  static constexpr bool kMinimum = false;
  static constexpr int kShift = 4;
  static constexpr char kLift = 120;
};
struct Nibbles1 : Nibbles {
  static constexpr bool kMinimum = true;
  static constexpr int kShift = 0;
  static constexpr char kLift = 0;
};

struct Fives : HalfScales {
  static constexpr int64_t kLow = 256;
  static constexpr int64_t kHigh = 64;
  static void read(const std::byte* low, const std::byte* high, Group8& w) {
    read_nibbles(low, w);
    add_bits(high, 16, w);
  }
};
struct Fives0 : Fives {
  static constexpr bool kMinimum = false;
  static constexpr int kShift = 3;
  static constexpr char kLift = 112;
};
struct Fives1 : Fives {
  static constexpr bool kMinimum = true;
  static constexpr int kShift = 0;
  static constexpr char kLift = 0;
};

/// Nibbles that index a table, whose zero is lifted to 128 >> kShift.
template <const int8_t (&kValues)[16], int kZeroShift>
struct Table : Nibbles {
  static constexpr bool kMinimum = false;
  static constexpr int kShift = kZeroShift;
  static constexpr char kLift = static_cast<char>(128 - (128 >> kShift));
  static void read(const std::byte* low, const std::byte* /*high*/, Group8& w) {
    const __m512i values = _mm512_broadcast_i32x4(load16(reinterpret_cast<const std::byte*>(kValues)));
    const __m512i table = _mm512_add_epi8(values, _mm512_set1_epi8(static_cast<char>(128 >> kShift)));
    read_nibbles(low, w);
    for (int j = 0; j < 8; ++j) w[j] = _mm512_shuffle_epi8(table, w[j]);
  }
};
using Iq4Nl = Table<codec::kIq4Values, 0>;
struct Mxfp4 : Table<codec::kMxfp4Doubled, 3> {
  static __m512 scales(const std::byte* from) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
};

/// An unpacked chunk of a panel: bytes [groups][16][4], then float32 scales and minimums [blocks][16].
constexpr int64_t kScales = kChunk * kPanel;
constexpr int64_t kMinimums = kScales + kBlocks * kPanel * 4;
constexpr int64_t kUnpacked = kMinimums + kBlocks * kPanel * 4;

/// A chunk of a panel as above, with `kAdd` added to the bytes.
template <class Codec, char kAdd>
inline void unpack_blocks(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                          std::byte* out) {
  const BlockChunk chunk = block_chunk(*layout.format, layout.inputs, packed + panel * layout.panel_bytes, index);
  for (int64_t b = 0; b < chunk.blocks; ++b) {
    Group8 w;
    Codec::read(chunk.low + b * Codec::kLow, chunk.high + b * Codec::kHigh, w);
    for (int j = 0; j < 8; ++j) {
      _mm512_store_si512(out + 512 * b + 64 * j, kAdd == 0 ? w[j] : _mm512_add_epi8(w[j], _mm512_set1_epi8(kAdd)));
    }
    _mm512_store_ps(out + kScales + 64 * b, Codec::scales(chunk.scale + 32 * b));
    if (Codec::kMinimum) _mm512_store_ps(out + kMinimums + 64 * b, half_scales(chunk.minimum + 32 * b));
  }
}

/// `row.operator()<Codec>(name)` of every format.
template <class Row>
constexpr auto block_rows(Row row) {
  return std::array {
    row.template operator()<Bytes8>("q8_0"),
    row.template operator()<Nibbles0>("q4_0"),
    row.template operator()<Nibbles1>("q4_1"),
    row.template operator()<Fives0>("q5_0"),
    row.template operator()<Fives1>("q5_1"),
    row.template operator()<Iq4Nl>("iq4_nl"),
    row.template operator()<Mxfp4>("mxfp4"),
  };
}

}  // namespace
}  // namespace lamina::kernels

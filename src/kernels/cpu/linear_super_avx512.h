#pragma once

#include <array>
#include <type_traits>

#include "codec/iq4_nl.h"
#include "kernels/cpu/linear_common_avx512.h"

/// How kernels with AVX-512 VNNI read the panels of super-blocks. Internal linkage: each including file is
/// compiled for its own instruction set.
namespace lamina::kernels {
namespace {

/// Products modulo 256 of signed bytes with a factor per 32-bit lane.
inline __m512i multiply_bytes(__m512i bytes, __m512i factor16) {
  const __m512i even = _mm512_and_si512(_mm512_mullo_epi16(bytes, factor16), _mm512_set1_epi16(0xff));
  const __m512i odd = _mm512_slli_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(bytes, 8), factor16), 8);
  return _mm512_or_si512(even, odd);
}
/// Six bits of entry `index`; the counterpart of the packer.
template <int kIndex>
inline __m128i six_bits(const std::byte* scales) {
  const __m128i low =
      _mm_and_si128(_mm_srli_epi16(load16(scales + kIndex / 2 * 16), kIndex % 2 * 4), _mm_set1_epi8(15));
  const __m128i high = _mm_srli_epi16(load16(scales + 128 + kIndex / 4 * 16), kIndex % 4 * 2);
  return _mm_or_si128(low, _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4));
}
/// Pairs of minimums as 16-bit lanes, as vpdpwssd reads them.
inline __m512i minimum_pair(__m128i first, __m128i second) {
  return _mm512_or_si512(_mm512_cvtepu8_epi32(first), _mm512_slli_epi32(_mm512_cvtepu8_epi32(second), 16));
}

/// An unpacked panel: signed bytes [64 groups][16][4], int32 scales [16][16], int16 minimum pairs [8][16][2], the
/// start of the sums int32 [16], float32 d and dmin [16].
constexpr int64_t kScales = kChunk * kPanel;
constexpr int64_t kMinimums = kScales + 16 * 64;
constexpr int64_t kStart = kMinimums + 8 * 64;
constexpr int64_t kD = kStart + 64;
constexpr int64_t kDmin = kD + 64;
constexpr int64_t kUnpacked = kDmin + 64;

/// Six-bit entries of 16 outputs as bytes: those of even index at 0, of odd index at 128.
inline void expand_six(const std::byte* from, std::byte* out) {
  const __m512i four = _mm512_set1_epi8(15);
  const __m512i two = _mm512_set1_epi8(0x30);
  const __m512i high = load(from + 128);
  // Rows of 16 bytes: a row of `high` serves two rows of low nibbles, whose entries it holds in bits 0, 2, 4 and 6.
  const __m512i even =
      _mm512_setr_epi64(0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004, 0x0004000400040004);
  const __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(2));
  for (int64_t i = 0; i < 2; ++i) {
    const __m512i low = load(from + 64 * i);
    const __m512i twice = i == 0 ? _mm512_shuffle_i64x2(high, high, 0x50) : _mm512_shuffle_i64x2(high, high, 0xfa);
    const __m512i first = _mm512_slli_epi16(_mm512_srlv_epi16(twice, even), 4);
    const __m512i second = _mm512_slli_epi16(_mm512_srlv_epi16(twice, odd), 4);
    _mm512_store_si512(out + 64 * i, _mm512_or_si512(_mm512_and_si512(low, four), _mm512_and_si512(first, two)));
    _mm512_store_si512(out + 128 + 64 * i, _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(low, 4), four),
                                                           _mm512_and_si512(second, two)));
  }
}

/// kSub: inputs per scale that the tile multiplies (256: the bytes hold it); kPairs: pairs of minimums; kZero: zero of
/// the raw numbers. quants(): signed bytes of 32 inputs for the tile; raw(): the unsigned numbers for one row, whose
/// scales row_scales() writes as bytes; row_scale(): those of sub-block s.
struct Super4 {
  static constexpr int kSub = 32;
  static constexpr int kZero = 0;
  static constexpr int kPairs = 4;
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) { read_nibbles(unit.low + 256 * b, w); }
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) { raw(unit, b, w); }
  static void row_scales(const SuperUnit& unit, std::byte* out) { expand_six(unit.scale, out); }
  static __m512i row_scale(const std::byte* from, int64_t s) { return _mm512_cvtepu8_epi32(load16(from + 16 * s)); }
  template <int kIndex>
  static void scale(const std::byte* scales, std::byte* out) {
    _mm512_store_si512(out + kScales + 64 * kIndex, _mm512_cvtepu8_epi32(six_bits<2 * kIndex>(scales)));
  }
  template <int kPair>
  static void minimum(const std::byte* scales, std::byte* out) {
    _mm512_store_si512(out + kMinimums + 64 * kPair,
                       minimum_pair(six_bits<4 * kPair + 1>(scales), six_bits<4 * kPair + 3>(scales)));
  }
  static void scales(const SuperUnit& unit, std::byte* out) {
    scale<0>(unit.scale, out), scale<1>(unit.scale, out), scale<2>(unit.scale, out), scale<3>(unit.scale, out);
    scale<4>(unit.scale, out), scale<5>(unit.scale, out), scale<6>(unit.scale, out), scale<7>(unit.scale, out);
    minimum<0>(unit.scale, out), minimum<1>(unit.scale, out), minimum<2>(unit.scale, out);
    minimum<3>(unit.scale, out);
  }
};
struct Super5 : Super4 {
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) {
    read_nibbles(unit.low + 256 * b, w);
    add_bits(unit.high + 64 * b, 16, w);
  }
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) { raw(unit, b, w); }
};
struct Super6 {
  static constexpr int kSub = 16;
  static constexpr int kZero = 32;
  static constexpr int kPairs = 0;
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) {
    constexpr int kKeepOrAnd = 0xea;  // (first and second) or third
    const __m512i top = _mm512_set1_epi8(0x30);
    read_nibbles(unit.low + 256 * b, w);
    for (int j = 0; j < 2; ++j) {
      const __m512i four = load(unit.high + 128 * b + 64 * j);
      w[j] = _mm512_ternarylogic_epi32(top, _mm512_slli_epi16(four, 4), w[j], kKeepOrAnd);
      w[j + 2] = _mm512_ternarylogic_epi32(top, _mm512_slli_epi16(four, 2), w[j + 2], kKeepOrAnd);
      w[j + 4] = _mm512_ternarylogic_epi32(top, four, w[j + 4], kKeepOrAnd);
      w[j + 6] = _mm512_ternarylogic_epi32(top, _mm512_srli_epi16(four, 2), w[j + 6], kKeepOrAnd);
    }
  }
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) {
    raw(unit, b, w);
    for (int j = 0; j < 8; ++j) w[j] = _mm512_sub_epi8(w[j], _mm512_set1_epi8(32));
  }
  static void row_scales(const SuperUnit& unit, std::byte* out) {
    for (int64_t i = 0; i < 256; i += 64) _mm512_store_si512(out + i, load(unit.scale + i));
  }
  static __m512i row_scale(const std::byte* from, int64_t s) { return _mm512_cvtepi8_epi32(load16(from + 16 * s)); }
  static void scales(const SuperUnit& unit, std::byte* out) {
    for (int64_t s = 0; s < 16; ++s) {
      _mm512_store_si512(out + kScales + 64 * s, _mm512_cvtepi8_epi32(load16(unit.scale + 16 * s)));
    }
  }
};
struct Super2 {
  static constexpr int kSub = 256;
  static constexpr int kZero = 0;
  static constexpr int kPairs = 8;
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) { read_pairs(unit.low + 128 * b, w); }
  static void row_scales(const SuperUnit& unit, std::byte* out) {
    const __m512i mask = _mm512_set1_epi8(15);
    for (int64_t i = 0; i < 256; i += 64) {
      const __m512i both = load(unit.scale + i);
      _mm512_store_si512(out + i, _mm512_and_si512(both, mask));
      _mm512_store_si512(out + 256 + i, _mm512_and_si512(_mm512_srli_epi16(both, 4), mask));
    }
  }
  static __m512i row_scale(const std::byte* from, int64_t s) { return _mm512_cvtepu8_epi32(load16(from + 16 * s)); }
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) {
    read_pairs(unit.low + 128 * b, w);
    for (int j = 0; j < 8; ++j) {
      const __m128i both = load16(unit.scale + 16 * (2 * b + j / 4));
      const __m512i scale = _mm512_cvtepu8_epi32(_mm_and_si128(both, _mm_set1_epi8(15)));
      w[j] = multiply_bytes(w[j], _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16)));
    }
  }
  static void scales(const SuperUnit& unit, std::byte* out) {
    const auto minimum = [&](int64_t s) {
      return _mm_and_si128(_mm_srli_epi16(load16(unit.scale + 16 * s), 4), _mm_set1_epi8(15));
    };
    for (int64_t s = 0; s < 8; ++s) {
      _mm512_store_si512(out + kMinimums + 64 * s, minimum_pair(minimum(2 * s), minimum(2 * s + 1)));
    }
  }
};
/// The bytes hold (32 - scale) * (raw - 4), which fits -128..124; d is negated to match.
struct Super3 {
  static constexpr int kSub = 256;
  static constexpr int kZero = 4;
  static constexpr int kPairs = 0;
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) {
    read_pairs(unit.low + 128 * b, w);
    add_bits(unit.high + 64 * b, 4, w);
  }
  static void row_scales(const SuperUnit& unit, std::byte* out) { expand_six(unit.scale, out); }
  /// The high half of a lane stays zero, as vpdpwssd wants it.
  static __m512i row_scale(const std::byte* from, int64_t s) {
    const __m512i six = _mm512_cvtepu8_epi32(load16(from + s % 2 * 128 + s / 2 * 16));
    return _mm512_sub_epi16(six, _mm512_set1_epi32(32));
  }
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) {
    raw(unit, b, w);
    for (int64_t j = 0; j < 8; ++j) {
      const int64_t s = 2 * b + j / 4;
      const __m128i low = _mm_srli_epi16(load16(unit.scale + s / 2 * 16), static_cast<int>(s % 2 * 4));
      const __m128i high = _mm_srli_epi16(load16(unit.scale + 128 + s / 4 * 16), static_cast<int>(s % 4 * 2));
      const __m128i six =
          _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(15)), _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4));
      const __m512i scale =
          _mm512_and_si512(_mm512_cvtepi8_epi32(_mm_sub_epi8(_mm_set1_epi8(32), six)), _mm512_set1_epi32(0xffff));
      const __m512i q = _mm512_sub_epi8(w[j], _mm512_set1_epi8(4));
      w[j] = multiply_bytes(q, _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16)));
    }
  }
  static void scales(const SuperUnit& /*unit*/, std::byte* /*out*/) {}
};

struct SuperIq4 {
  static constexpr int kSub = 32;
  static constexpr int kZero = 128;
  static constexpr int kPairs = 0;
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) { look_up(unit, b, 0, w); }
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) { look_up(unit, b, static_cast<char>(0x80), w); }
  static void row_scales(const SuperUnit& unit, std::byte* out) {
    for (int64_t i = 0; i < 128; i += 64) _mm512_store_si512(out + i, load(unit.scale + i));
  }
  static __m512i row_scale(const std::byte* from, int64_t s) { return _mm512_cvtepi8_epi32(load16(from + 16 * s)); }
  static void scales(const SuperUnit& unit, std::byte* out) {
    for (int64_t s = 0; s < 8; ++s) _mm512_store_si512(out + kScales + 64 * s, row_scale(unit.scale, s));
  }

 private:
  static void look_up(const SuperUnit& unit, int64_t b, char lift, Group8& w) {
    const auto* values = reinterpret_cast<const std::byte*>(codec::kIq4Values);
    const __m512i table = _mm512_add_epi8(_mm512_broadcast_i32x4(load16(values)), _mm512_set1_epi8(lift));
    read_nibbles(unit.low + 256 * b, w);
    for (int j = 0; j < 8; ++j) w[j] = _mm512_shuffle_epi8(table, w[j]);
  }
};

/// Two bits and the output's place among four index the values of four outputs, which fill a quarter of a register.
struct Book2 {
  static constexpr float kFactor = 0x1p-10F;
  static constexpr int kSub = 16;
  static constexpr int kZero = 128;
  static constexpr int kPairs = 0;
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) { look_up(unit, b, load(unit.book), w); }
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) {
    look_up(unit, b, _mm512_xor_si512(load(unit.book), _mm512_set1_epi8(static_cast<char>(0x80))), w);
  }
  /// Scales 2s and 2s + 1 share bytes; eight is added to make them unsigned and taken away again.
  static void row_scales(const SuperUnit& unit, std::byte* out) {
    const __m128i eight = _mm_set1_epi8(8);
    const auto widen = [eight](__m128i nibbles) {
      return _mm_sub_epi8(_mm_xor_si128(_mm_and_si128(nibbles, _mm_set1_epi8(15)), eight), eight);
    };
    for (int64_t s = 0; s < 16; s += 2) {
      const __m128i both = load16(unit.scale + 8 * s);
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 16 * s), widen(both));
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 16 * s + 16), widen(_mm_srli_epi16(both, 4)));
    }
  }
  static __m512i row_scale(const std::byte* from, int64_t s) { return _mm512_cvtepi8_epi32(load16(from + 16 * s)); }
  static void scales(const SuperUnit& unit, std::byte* out) {
    alignas(64) std::byte bytes[256];
    row_scales(unit, bytes);
    for (int64_t s = 0; s < 16; ++s) _mm512_store_si512(out + kScales + 64 * s, row_scale(bytes, s));
  }

 private:
  static void look_up(const SuperUnit& unit, int64_t b, __m512i values, Group8& w) {
    const __m512i output = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    read_pairs(unit.low + 128 * b, w);
    for (int j = 0; j < 8; ++j) w[j] = _mm512_shuffle_epi8(values, _mm512_or_si512(w[j], output));
  }
};

/// Points of a grid, looked up for 16 outputs at a time.
template <const PointGrid& kGrid, int kPerScale, int kOneOver>
struct Points {
  static constexpr float kFactor = 1.0F / kOneOver;
  static constexpr int kSub = kPerScale;
  static constexpr int kZero = kPointZero;
  static constexpr int kPairs = 0;
  static void quants(const SuperUnit& unit, int64_t b, Group8& w) {
    constexpr int64_t kWords = kGrid.weights / 4;
    for (int64_t j = 0; j < 8; j += kWords) {
      const int64_t point = (8 * b + j) / kWords;
      __m512i index = _mm512_cvtepu8_epi32(load16(unit.low + 16 * point));
      for (int64_t i = 0; i < kGrid.high; ++i) {
        const auto bits = load_as<uint16_t>(unit.high, kGrid.high * point + i);
        index = _mm512_mask_or_epi32(index, bits, index, _mm512_set1_epi32(256 << i));
      }
      for (int64_t i = 0; i < kWords; ++i) {
        const __m512i sizes = _mm512_i32gather_epi32(index, kGrid.values + i, 4 * kWords);
        const __mmask64 minus = _cvtu64_mask64(load_as<uint64_t>(unit.signs, 8 * b + j + i));
        w[j + i] = _mm512_mask_sub_epi8(sizes, minus, _mm512_setzero_si512(), sizes);
      }
    }
  }
  static void raw(const SuperUnit& unit, int64_t b, Group8& w) {
    quants(unit, b, w);
    for (int j = 0; j < 8; ++j) w[j] = _mm512_add_epi8(w[j], _mm512_set1_epi8(kZero));
  }
  /// Scales 2s and 2s + 1 share bytes.
  static void row_scales(const SuperUnit& unit, std::byte* out) {
    const __m128i one = _mm_set1_epi8(1);
    for (int64_t s = 0; s < 256 / kSub; s += 2) {
      const __m128i both = load16(unit.scale + 8 * s);
      const __m128i first = _mm_and_si128(_mm_slli_epi16(both, 1), _mm_set1_epi8(30));
      const __m128i second = _mm_and_si128(_mm_srli_epi16(both, 3), _mm_set1_epi8(30));
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 16 * s), _mm_or_si128(first, one));
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 16 * s + 16), _mm_or_si128(second, one));
    }
  }
  static __m512i row_scale(const std::byte* from, int64_t s) { return _mm512_cvtepu8_epi32(load16(from + 16 * s)); }
  static void scales(const SuperUnit& unit, std::byte* out) {
    alignas(64) std::byte bytes[256];
    row_scales(unit, bytes);
    for (int64_t s = 0; s < 256 / kSub; ++s) _mm512_store_si512(out + kScales + 64 * s, row_scale(bytes, s));
  }
};

/// d times what the format multiplies it by.
template <class Codec>
inline __m512 row_unit_scale(const SuperUnit& unit) {
  const __m512 d = half_scales(unit.d);
  if constexpr (requires { Codec::kFactor; }) return _mm512_mul_ps(d, _mm512_set1_ps(Codec::kFactor));
  return d;
}

/// The same as the tile's bytes want it.
template <class Codec>
inline __m512 unit_scale(const SuperUnit& unit) {
  const __m512 d = row_unit_scale<Codec>(unit);
  return std::is_same_v<Codec, Super3> ? _mm512_xor_ps(d, _mm512_set1_ps(-0.0F)) : d;
}

/// -128 times the sum of scale * weight: where the sums start.
template <class Codec>
inline void write_start(std::byte* out) {
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i all = _mm512_setzero_si512();
  for (int64_t s = 0; s < 256 / Codec::kSub; ++s) {
    __m512i even = _mm512_setzero_si512();
    __m512i odd = _mm512_setzero_si512();
    for (int64_t g = 0; g < Codec::kSub / 4; g += 2) {
      even = _mm512_dpbusd_epi32(even, bias, _mm512_load_si512(out + 64 * (s * (Codec::kSub / 4) + g)));
      odd = _mm512_dpbusd_epi32(odd, bias, _mm512_load_si512(out + 64 * (s * (Codec::kSub / 4) + g + 1)));
    }
    __m512i sum = _mm512_add_epi32(even, odd);
    if (Codec::kSub != 256) sum = _mm512_mullo_epi32(sum, _mm512_load_si512(out + kScales + 64 * s));
    all = _mm512_add_epi32(all, sum);
  }
  _mm512_store_si512(out + kStart, _mm512_sub_epi32(_mm512_setzero_si512(), all));
}

/// Bytes, scales and minimums of a unit; what else a kernel keeps of it is its own.
template <class Codec>
inline void unpack_unit(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                        std::byte* out) {
  const SuperUnit unit = super_unit(*layout.format, packed + panel * layout.panel_bytes, index);
  for (int64_t b = 0; b < 8; ++b) {
    Group8 w;
    Codec::quants(unit, b, w);
    for (int j = 0; j < 8; ++j) _mm512_store_si512(out + 512 * b + 64 * j, w[j]);
  }
  Codec::scales(unit, out);
  _mm512_store_ps(out + kD, unit_scale<Codec>(unit));
  if (Codec::kPairs != 0) _mm512_store_ps(out + kDmin, half_scales(unit.dmin));
}

/// `row.operator()<Codec>(name)` of every format.
template <class Row>
constexpr auto super_rows(Row row) {
  return std::array {
    row.template operator()<Super2>("q2_k"),
    row.template operator()<Super3>("q3_k"),
    row.template operator()<Super4>("q4_k"),
    row.template operator()<Super5>("q5_k"),
    row.template operator()<Super6>("q6_k"),
    row.template operator()<SuperIq4>("iq4_xs"),
    row.template operator()<Book2>("cb2"),
    row.template operator()<Points<kGridOfIq3S, 32, 1>>("iq3_s"),
    row.template operator()<Points<kGridOfIq3Xxs, 32, 4>>("iq3_xxs"),
    row.template operator()<Points<kGridOfIq2S, 16, 8>>("iq2_s"),
    row.template operator()<Points<kGridOfIq2Xs, 16, 8>>("iq2_xs"),
    row.template operator()<Points<kGridOfIq2Xxs, 32, 8>>("iq2_xxs"),
  };
}

}  // namespace
}  // namespace lamina::kernels

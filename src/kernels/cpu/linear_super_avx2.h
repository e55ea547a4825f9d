#pragma once

#include <array>

#include "codec/iq4_nl.h"
#include "kernels/cpu/linear_common_avx2.h"

/// Super-blocks of 256 for AVX2 and AVX2-VNNI; included by both files, hence internal linkage. Many rows multiply the
/// unsigned activations (q + 128) by signed weights; what the 128 adds depends on the weights alone, so unpack()
/// computes it once. One row multiplies raw unsigned weights by signed activations and needs no such pass.
namespace lamina::kernels {
namespace {

inline __m128i load16(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
inline __m256i load_u8(__m128i bytes, int half) {
  return _mm256_cvtepu8_epi32(half == 0 ? bytes : _mm_srli_si128(bytes, 8));
}
inline __m256i load_s8(__m128i bytes, int half) {
  return _mm256_cvtepi8_epi32(half == 0 ? bytes : _mm_srli_si128(bytes, 8));
}
/// The low 16 bits of every lane in both its halves.
inline __m256i twice(__m256i lanes) {
  return _mm256_blend_epi16(lanes, _mm256_slli_epi32(lanes, 16), 0xaa);
}

/// Six-bit entry `index` of 16 outputs.
inline __m128i six_bits(const std::byte* from, int index) {
  const __m128i low = _mm_srl_epi16(load16(from + index / 2 * 16), _mm_cvtsi32_si128(index % 2 * 4));
  const __m128i high = _mm_srl_epi16(load16(from + 128 + index / 4 * 16), _mm_cvtsi32_si128(index % 4 * 2));
  return _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(15)), _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4));
}

/// Groups j and j + 4 of a sub-block of 32 from a plane of two bits.
inline Two read_pairs(const std::byte* low, int j, int half) {
  const __m256i mask = _mm256_set1_epi8(3);
  const __m256i four = load(low + 64 * (j % 2) + 32 * half);
  return {_mm256_and_si256(j < 2 ? four : _mm256_srli_epi16(four, 2), mask),
          _mm256_and_si256(_mm256_srli_epi16(four, j < 2 ? 4 : 6), mask)};
}

/// kSub: inputs per scale; kWide, kSigned: groups whose products can be added in 16 bits, for unsigned and for signed
/// activations, 0 for signed weights of full range, whose signs go to the activations; kZero: zero of the raw numbers;
/// kPairs: pairs of minimums. read(): groups j and j + 4 of sub-block b (32 inputs) of half a panel, raw. scale(),
/// minimum(): entry s of 16 outputs as 32-bit lanes.
struct Super4 {
  static constexpr int kSub = 32;
  static constexpr int kWide = 4;
  static constexpr int kSigned = 8;
  static constexpr int kZero = 0;
  static constexpr int kPairs = 4;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    return read_nibbles(unit.low + 256 * b + 64 * j + 32 * half);
  }
  static __m256i scale(const SuperUnit& unit, int s, int half) { return load_u8(six_bits(unit.scale, 2 * s), half); }
  static __m256i minimum(const SuperUnit& unit, int s, int half) {
    return load_u8(six_bits(unit.scale, 2 * s + 1), half);
  }
};
struct Super5 : Super4 {
  static constexpr int kWide = 2;
  static constexpr int kSigned = 4;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    const Two w = Super4::read(unit, b, j, half);
    const std::byte* bits = unit.high + 64 * b + 8 * j + 4 * half;
    return {with_bits(w.first, bits, 16), with_bits(w.second, bits + 32, 16)};
  }
};
/// Formats without minimums share the default: minimum() stands for zero.
struct Super6 {
  static constexpr int kSub = 16;
  static constexpr int kWide = 2;
  static constexpr int kSigned = 2;
  static constexpr int kZero = 32;
  static constexpr int kPairs = 0;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    const Two low = read_nibbles(unit.low + 256 * b + 64 * j + 32 * half);
    const Two high = read_pairs(unit.high + 128 * b, j, half);
    return {_mm256_or_si256(low.first, _mm256_slli_epi16(high.first, 4)),
            _mm256_or_si256(low.second, _mm256_slli_epi16(high.second, 4))};
  }
  static __m256i scale(const SuperUnit& unit, int s, int half) { return load_s8(load16(unit.scale + 16 * s), half); }
  static __m256i minimum(const SuperUnit& /*unit*/, int /*s*/, int /*half*/) { return _mm256_setzero_si256(); }
};
struct Super2 {
  static constexpr int kSub = 16;
  static constexpr int kWide = 4;
  static constexpr int kSigned = 4;
  static constexpr int kZero = 0;
  static constexpr int kPairs = 8;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) { return read_pairs(unit.low + 128 * b, j, half); }
  static __m256i scale(const SuperUnit& unit, int s, int half) {
    return load_u8(_mm_and_si128(load16(unit.scale + 16 * s), _mm_set1_epi8(15)), half);
  }
  static __m256i minimum(const SuperUnit& unit, int s, int half) {
    return load_u8(_mm_and_si128(_mm_srli_epi16(load16(unit.scale + 16 * s), 4), _mm_set1_epi8(15)), half);
  }
};
struct Super3 : Super6 {
  static constexpr int kWide = 4;
  static constexpr int kSigned = 4;
  static constexpr int kZero = 4;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    const Two w = read_pairs(unit.low + 128 * b, j, half);
    const std::byte* bits = unit.high + 64 * b + 8 * j + 4 * half;
    return {with_bits(w.first, bits, 4), with_bits(w.second, bits + 32, 4)};
  }
  static __m256i scale(const SuperUnit& unit, int s, int half) {
    return load_s8(_mm_sub_epi8(six_bits(unit.scale, s), _mm_set1_epi8(32)), half);
  }
};

struct SuperIq4 : Super6 {
  static constexpr int kSub = 32;
  static constexpr int kWide = 0;
  static constexpr int kSigned = 0;
  static constexpr int kZero = 0;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    const Two w = read_nibbles(unit.low + 256 * b + 64 * j + 32 * half);
    const __m256i table = value_table(codec::kIq4Values);
    return {_mm256_shuffle_epi8(table, w.first), _mm256_shuffle_epi8(table, w.second)};
  }
};

/// Two bits and the output's place among four index the values of four outputs, which fill half of a register.
struct Book2 : Super6 {
  static constexpr float kFactor = 0x1p-10F;
  static constexpr int kWide = 0;
  static constexpr int kSigned = 0;
  static constexpr int kZero = 0;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    const __m256i output = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    const __m256i values = load(unit.book + 32 * half);
    const Two w = read_pairs(unit.low + 128 * b, j, half);
    return {_mm256_shuffle_epi8(values, _mm256_or_si256(w.first, output)),
            _mm256_shuffle_epi8(values, _mm256_or_si256(w.second, output))};
  }
  static __m256i scale(const SuperUnit& unit, int s, int half) {
    const __m128i eight = _mm_set1_epi8(8);
    const __m128i both = _mm_srl_epi16(load16(unit.scale + s / 2 * 16), _mm_cvtsi32_si128(s % 2 * 4));
    return load_s8(_mm_sub_epi8(_mm_xor_si128(_mm_and_si128(both, _mm_set1_epi8(15)), eight), eight), half);
  }
};

/// Points of a grid, looked up 8 outputs at a time.
template <const PointGrid& kGrid, int kPerScale, int kWideGroups, int kOneOver>
struct Points : Super6 {
  static constexpr float kFactor = 1.0F / kOneOver;
  static constexpr int kSub = kPerScale;
  static constexpr int kWide = kWideGroups;
  static constexpr int kSigned = 0;
  static constexpr int kZero = 0;
  static Two read(const SuperUnit& unit, int64_t b, int j, int half) {
    return {group(unit, 8 * b + j, half), group(unit, 8 * b + j + 4, half)};
  }
  static __m256i scale(const SuperUnit& unit, int s, int half) {
    const __m128i both = _mm_srl_epi16(load16(unit.scale + s / 2 * 16), _mm_cvtsi32_si128(s % 2 * 4));
    const __m256i nibble = load_u8(_mm_and_si128(both, _mm_set1_epi8(15)), half);
    return _mm256_add_epi32(_mm256_add_epi32(nibble, nibble), _mm256_set1_epi32(1));
  }

 private:
  static __m256i group(const SuperUnit& unit, int64_t g, int half) {
    constexpr int64_t kWords = kGrid.weights / 4;
    const int64_t point = g / kWords;
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(unit.low + 16 * point + 8 * half));
    __m256i index = _mm256_cvtepu8_epi32(low);
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (int64_t i = 0; i < kGrid.high; ++i) {
      const auto bits = static_cast<int>(unit.high[2 * (kGrid.high * point + i) + half]);
      const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), lane), lane);
      index = _mm256_or_si256(index, _mm256_and_si256(set, _mm256_set1_epi32(256 << i)));
    }
    const auto* values = reinterpret_cast<const int*>(kGrid.values) + g % kWords;
    const __m256i sizes = _mm256_i32gather_epi32(values, index, 4 * kWords);
    const __m256i minus = spread_bits(unit.signs + 8 * g + 4 * half);
    return _mm256_sub_epi8(_mm256_xor_si256(sizes, minus), minus);
  }
};

/// d times what the format multiplies it by.
template <class Codec>
inline __m256 unit_scale(const SuperUnit& unit, int half) {
  const __m256 d = half_scales(unit.d + 16 * half);
  if constexpr (requires { Codec::kFactor; }) return _mm256_mul_ps(d, _mm256_set1_ps(Codec::kFactor));
  return d;
}

/// Products of signed bytes, in pairs of 16 bits: at most 2 * 127 * 127.
inline __m256i multiply_signed(__m256i weight, __m256i activation) {
  return _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(activation, weight));
}

/// An unpacked panel: signed bytes [64 groups][16][4]; scales [16][16] as 32-bit lanes, or both halves of them 16 bits
/// each where products are added in 16 bits; int16 minimum pairs [8][16][2]; int32 start of the sums [16]; float32 d
/// and dmin [16].
constexpr int64_t kSuperScales = kChunk * kPanel;
constexpr int64_t kSuperMinimums = kSuperScales + 16 * 64;
constexpr int64_t kStart = kSuperMinimums + 8 * 64;
constexpr int64_t kD = kStart + 64;
constexpr int64_t kDmin = kD + 64;
constexpr int64_t kSuperUnpacked = kDmin + 64;

/// Exact sums of scale * weight * activation over 256 inputs, `kRows` rows with 8 outputs.
template <class Codec, int kRows>
inline __attribute__((always_inline)) void super_dots(const std::byte* w, const std::byte* scales, const std::byte* x,
                                                      int64_t stride, __m256i (&all)[kRows]) {
  constexpr bool kFull = !kVnni && Codec::kWide == 0;
  constexpr int kGroups = kVnni ? Codec::kSub / 4 : (Codec::kWide == 0 ? 1 : Codec::kWide);
  constexpr int kSteps = Codec::kSub / 4 / kGroups;
#pragma GCC unroll 1
  for (int s = 0; s < 64 / kGroups; ++s) {
    const __m256i scale = load(scales + s / kSteps * 64);
    __m256i sub[kRows];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const __m256i weight = load(w + 64 * g);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m256i a = broadcast(x + r * stride + 4 * g);
        if constexpr (kVnni) {
          sub[r] = dot_bytes(g == 0 ? _mm256_setzero_si256() : sub[r], a, weight);
        } else if constexpr (kFull) {
          sub[r] = multiply_signed(weight, _mm256_xor_si256(a, _mm256_set1_epi8(static_cast<char>(0x80))));
        } else {
          const __m256i product = _mm256_maddubs_epi16(a, weight);
          sub[r] = g == 0 ? product : _mm256_add_epi16(sub[r], product);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m256i scaled = kVnni ? _mm256_mullo_epi32(sub[r], scale) : _mm256_madd_epi16(sub[r], scale);
      all[r] = _mm256_add_epi32(all[r], scaled);
    }
    w += 64 * kGroups;
    x += 4 * kGroups;
  }
}

template <class Codec, int kRows>
void super_tile(const Tile& tile, int half) {
  const SuperRow row = SuperRow::of(tile.inputs);
  const int64_t stride = tile.activation_bytes;
  const int64_t block = tile.begin / kChunk;
  const std::byte* panel = tile.weights + 32 * half;
  __m256i all[kRows];
  for (int r = 0; r < kRows; ++r) all[r] = load(panel + kStart);
  super_dots<Codec, kRows>(panel, panel + kSuperScales, tile.activations + tile.begin, stride, all);
  const std::byte* scale = tile.activations + row.scale + 4 * block;
  const std::byte* sums =
      Codec::kPairs == 8 ? tile.activations + row.sum16 + 32 * block : tile.activations + row.sum32 + 16 * block;
  const auto factor = [panel](int64_t at) { return _mm256_loadu_ps(reinterpret_cast<const float*>(panel + at)); };
  for (int r = 0; r < kRows; ++r) {
    const __m256 d = broadcast_float(scale + r * stride);
    float* at = tile.sums + 16 * r + 8 * half;
    __m256 y = tile.begin == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(at);
    y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(all[r]), _mm256_mul_ps(factor(kD), d), y);
    if constexpr (Codec::kPairs != 0) {
      __m256i low = _mm256_setzero_si256();
      for (int j = 0; j < Codec::kPairs; ++j) {
        const __m256i pair = load(panel + kSuperMinimums + 64 * j);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(pair, broadcast(sums + r * stride + 4 * j)));
      }
      y = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(low), _mm256_mul_ps(factor(kDmin), d), y);
    }
    _mm256_storeu_ps(at, y);
  }
}

/// The sums of 16 activations are in the low half of a lane: times the low half of the other operand.
inline __m256i broadcast_sum(const std::byte* sums, int s) {
  return _mm256_set1_epi32(load_as<uint16_t>(sums, s));
}

/// The rows that few_rows computes together, at one super-block.
template <int kRows>
struct FewRows {
  alignas(32) std::byte x[kRows][kChunk];  ///< signed bytes
  alignas(32) std::byte scales[16 * 64];   ///< both halves of 32-bit lanes [16 or 8][16]
  alignas(32) std::byte low[kRows][64];    ///< what the sums of the activations add up to
  const std::byte* sums = nullptr;         ///< int16 sums per kSub activations of the first row
};

/// Writes the scales, and for each row the products of its sums with what they are multiplied by: minimums, or scales
/// where the raw zero is not 0.
template <class Codec, int kRows>
inline __attribute__((always_inline)) void few_rows_scales(const SuperUnit& unit, int64_t stride,
                                                           FewRows<kRows>& rows) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    __m256i low[kRows];
    for (int r = 0; r < kRows; ++r) low[r] = _mm256_setzero_si256();
#pragma GCC unroll 16
    for (int s = 0; s < 256 / Codec::kSub; ++s) {
      const __m256i scale = twice(Codec::scale(unit, s, h));
      const __m256i factor = Codec::kZero != 0 ? scale : Codec::minimum(unit, s, h);
      store(rows.scales + 64 * s + 32 * h, scale);
      if constexpr (Codec::kZero == 0 && Codec::kPairs == 0) continue;
      for (int r = 0; r < kRows; ++r) {
        const __m256i sum = broadcast_sum(rows.sums + r * stride, s);
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(factor, sum));
      }
    }
    for (int r = 0; r < kRows; ++r) store(rows.low[r] + 32 * h, low[r]);
  }
}

/// Adds scale * raw weight * signed activation of sub-block b for half a panel to each row's `all`.
template <class Codec, int kRows>
inline __attribute__((always_inline)) void few_rows_block(const SuperUnit& unit, int b, int half,
                                                          const FewRows<kRows>& rows, __m256i (&all)[kRows]) {
  constexpr int64_t kNext = Codec::kSub == 32 ? 0 : 64;
  const std::byte* scale = rows.scales + (64 + kNext) * b + 32 * half;
  __m256i first[kRows];
  __m256i second[kRows];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Two w = Codec::read(unit, b, j, half);
    const bool fresh = j == 0 || (Codec::kSigned == 2 && j == 2);
    const bool last = j == 3 || (Codec::kSigned == 2 && j == 1);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i a = broadcast(rows.x[r] + 32 * b + 4 * j);
      const __m256i c = broadcast(rows.x[r] + 32 * b + 4 * j + 16);
      if constexpr (Codec::kSigned == 0) {
        const __m256i both = _mm256_add_epi32(_mm256_madd_epi16(multiply_signed(w.first, a), load(scale)),
                                              _mm256_madd_epi16(multiply_signed(w.second, c), load(scale + kNext)));
        all[r] = _mm256_add_epi32(all[r], both);
        continue;
      }
      const __m256i low = _mm256_maddubs_epi16(w.first, a);
      const __m256i high = _mm256_maddubs_epi16(w.second, c);
      first[r] = fresh ? low : _mm256_add_epi16(first[r], low);
      second[r] = fresh ? high : _mm256_add_epi16(second[r], high);
      if (!last) continue;
      all[r] = _mm256_add_epi32(all[r], _mm256_madd_epi16(first[r], load(scale)));
      all[r] = _mm256_add_epi32(all[r], _mm256_madd_epi16(second[r], load(scale + kNext)));
    }
  }
}

/// A few rows, unpacked in registers, one panel at a time: a single ascending stream.
template <class Codec, int kRows>
void super_few(const LinearArgs& args, int64_t panel, int64_t first_row) {
  const WeightLayout& layout = *args.layout;
  const SuperRow row = SuperRow::of(layout.inputs);
  const int64_t stride = row.bytes;
  const int64_t ahead = 2 * layout.format->panel_bytes;  // an eighth of a unit
  const std::byte* base = args.packed + panel * layout.panel_bytes;
  const std::byte* from = args.activations + first_row * stride;
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
  alignas(32) float y[kRows * kPanel] = {};
  FewRows<kRows> rows;
  for (int64_t index = 0; index * kChunk < layout.inputs; ++index) {
    for (int r = 0; r < kRows; ++r) {
      const std::byte* at = from + r * stride + index * kChunk;
      for (int64_t i = 0; i < kChunk; i += 32) store(rows.x[r] + i, _mm256_xor_si256(load(at + i), flip));
    }
    const SuperUnit unit = super_unit(*layout.format, base, index);
    rows.sums = from + (Codec::kSub == 32 ? row.sum32 + 16 * index : row.sum16 + 32 * index);
    few_rows_scales<Codec, kRows>(unit, stride, rows);
    __m256i all[2][kRows];
    for (int r = 0; r < kRows; ++r) all[0][r] = all[1][r] = _mm256_setzero_si256();
#pragma GCC unroll 1
    for (int b = 0; b < 8; ++b) {
      prefetch_ahead(unit.low + b * ahead, ahead);
      for (int h = 0; h < 2; ++h) few_rows_block<Codec, kRows>(unit, b, h, rows, all[h]);
    }
    for (int r = 0; r < kRows; ++r) {
      const __m256 d = broadcast_float(from + r * stride + row.scale + 4 * index);
      for (int h = 0; h < 2; ++h) {
        __m256i sum = all[h][r];
        const __m256i low = load(rows.low[r] + 32 * h);
        if (Codec::kZero != 0) {
          sum = _mm256_sub_epi32(sum, _mm256_mullo_epi32(low, _mm256_set1_epi32(Codec::kZero)));
        }
        float* to = y + r * kPanel + 8 * h;
        __m256 value = _mm256_load_ps(to);
        value = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(unit_scale<Codec>(unit, h), d), value);
        if (Codec::kPairs != 0) {
          const __m256 factor = _mm256_mul_ps(half_scales(unit.dmin + 16 * h), d);
          value = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(low), factor, value);
        }
        _mm256_store_ps(to, value);
      }
    }
  }
  finish_rows(args, panel, 1, first_row, kRows, y);
}

template <class Codec>
struct SuperKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 4;
  static constexpr int64_t kFew = 4;
  static constexpr int64_t kFewPairs = 0;
  static constexpr int64_t kFewRows = 8;
  static constexpr int64_t kInputBytes = 1;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kSuperUnpacked; }

  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const SuperUnit unit = super_unit(*layout.format, packed + panel * layout.panel_bytes, index);
    for (int half = 0; half < 2; ++half) unpack_half(unit, half, out + 32 * half);
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    super_tile<Codec, kRowCount>(tile, 0);
    super_tile<Codec, kRowCount>(tile, 1);
  }
  template <int kCount, int kRowCount>
  static void few(const LinearArgs& args, int64_t panel, int64_t first_row) {
    super_few<Codec, kRowCount>(args, panel, first_row);
  }

 private:
  static void unpack_half(const SuperUnit& unit, int half, std::byte* out) {
    const __m256i zero = _mm256_set1_epi8(Codec::kZero);
    const __m256i bias = _mm256_set1_epi8(static_cast<char>(0x80));
    __m256i start = _mm256_setzero_si256();
    for (int b = 0; b < 8; ++b) {
      __m256i first = _mm256_setzero_si256();
      __m256i second = _mm256_setzero_si256();
      for (int j = 0; j < 4; ++j) {
        const Two w = Codec::read(unit, b, j, half);
        const __m256i low = _mm256_sub_epi8(w.first, zero);
        const __m256i high = _mm256_sub_epi8(w.second, zero);
        store(out + 512 * b + 64 * j, low);
        store(out + 512 * b + 64 * j + 256, high);
        first = dot_bytes(first, bias, low);
        second = dot_bytes(second, bias, high);
      }
      const __m256i scale = put_scale(unit, Codec::kSub == 32 ? b : 2 * b, half, out);
      const __m256i next = Codec::kSub == 32 ? scale : put_scale(unit, 2 * b + 1, half, out);
      const __m256i sum = _mm256_add_epi32(_mm256_mullo_epi32(first, scale), _mm256_mullo_epi32(second, next));
      start = _mm256_sub_epi32(start, sum);
    }
    for (int j = 0; j < Codec::kPairs; ++j) {
      const __m256i high = _mm256_slli_epi32(Codec::minimum(unit, 2 * j + 1, half), 16);
      store(out + kSuperMinimums + 64 * j, _mm256_or_si256(Codec::minimum(unit, 2 * j, half), high));
    }
    store(out + kStart, !kVnni && Codec::kWide == 0 ? _mm256_setzero_si256() : start);
    _mm256_storeu_ps(reinterpret_cast<float*>(out + kD), unit_scale<Codec>(unit, half));
    if (Codec::kPairs == 0) return;
    _mm256_storeu_ps(reinterpret_cast<float*>(out + kDmin), half_scales(unit.dmin + 16 * half));
  }
  static __m256i put_scale(const SuperUnit& unit, int s, int half, std::byte* out) {
    const __m256i scale = Codec::scale(unit, s, half);
    store(out + kSuperScales + 64 * s, kVnni ? scale : twice(scale));
    return scale;
  }
};

template <class Codec>
constexpr LinearVariant super_row(std::string_view codec) {
  return {codec, kIsa, InputForm::kInt8Super, run_rows<SuperKernel<Codec>>, tiled_scratch_bytes<SuperKernel<Codec>>};
}

constexpr std::array kSuperRows{
    super_row<Super2>("q2_k"),
    super_row<Super3>("q3_k"),
    super_row<Super4>("q4_k"),
    super_row<Super5>("q5_k"),
    super_row<Super6>("q6_k"),
    super_row<SuperIq4>("iq4_xs"),
    super_row<Book2>("cb2"),
    super_row<Points<kGridOfIq3S, 32, 4, 1>>("iq3_s"),
    super_row<Points<kGridOfIq3Xxs, 32, 1, 4>>("iq3_xxs"),
    super_row<Points<kGridOfIq2S, 16, 1, 8>>("iq2_s"),
    super_row<Points<kGridOfIq2Xs, 16, 1, 8>>("iq2_xs"),
    super_row<Points<kGridOfIq2Xxs, 32, 1, 8>>("iq2_xxs"),
};

}  // namespace
}  // namespace lamina::kernels

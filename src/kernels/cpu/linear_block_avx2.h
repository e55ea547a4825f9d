#pragma once

#include <array>

#include "codec/iq4_nl.h"
#include "codec/mxfp4.h"
#include "kernels/cpu/linear_common_avx2.h"

/// Blocks of 32 for AVX2 and AVX2-VNNI. Included by both files, hence internal linkage.
namespace lamina::kernels {
namespace {

constexpr int64_t kBlocks = kChunk / 32;

struct HalfScales {
  static __m256 scales(const std::byte* from) { return half_scales(from); }
};

/// kSafe: groups whose products can be added in 16 bits; 0 means bytes of full range. kShift: the raw zero is
/// 128 >> kShift. read(): groups j and j + 4 of one half of a panel, raw.
struct Bytes8 : HalfScales {
  static constexpr bool kMinimum = false;
  static constexpr int kSafe = 0;
  static constexpr int kShift = 0;
  static constexpr int64_t kLow = 512;
  static constexpr int64_t kHigh = 0;
  static Two read(const std::byte* low, const std::byte* /*high*/, int j, int half) {
    const std::byte* from = low + 64 * j + 32 * half;
    return {load(from), load(from + 256)};
  }
};
struct Nibbles : HalfScales {
  static constexpr int kSafe = 8;
  static constexpr int kShift = 4;
  static constexpr int64_t kLow = 256;
  static constexpr int64_t kHigh = 0;
  static Two read(const std::byte* low, const std::byte* /*high*/, int j, int half) {
    return read_nibbles(low + 64 * j + 32 * half);
  }
};
struct Fives : HalfScales {
  static constexpr int kSafe = 4;
  static constexpr int kShift = 3;
  static constexpr int64_t kLow = 256;
  static constexpr int64_t kHigh = 64;
  static Two read(const std::byte* low, const std::byte* high, int j, int half) {
    const Two w = read_nibbles(low + 64 * j + 32 * half);
    const std::byte* bits = high + 8 * j + 4 * half;
    return {with_bits(w.first, bits, 16), with_bits(w.second, bits + 32, 16)};
  }
};
template <class Base, bool kWithMinimum>
struct With : Base {
  static constexpr bool kMinimum = kWithMinimum;
};

/// Nibbles that index a table, whose zero is lifted to 128 >> kShift.
template <const int8_t (&kValues)[16], int kZeroShift, int kSafeGroups>
struct Table : Nibbles {
  static constexpr bool kMinimum = false;
  static constexpr int kSafe = kSafeGroups;
  static constexpr int kShift = kZeroShift;
  static Two read(const std::byte* low, const std::byte* /*high*/, int j, int half) {
    const __m256i table = _mm256_add_epi8(value_table(kValues), _mm256_set1_epi8(static_cast<char>(128 >> kShift)));
    const Two w = read_nibbles(low + 64 * j + 32 * half);
    return {_mm256_shuffle_epi8(table, w.first), _mm256_shuffle_epi8(table, w.second)};
  }
};
using Iq4Nl = Table<codec::kIq4Values, 0, 0>;
struct Mxfp4 : Table<codec::kMxfp4Doubled, 3, 4> {
  static __m256 scales(const std::byte* from) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  }
};

/// Whether raw numbers are multiplied and the sums start at minus the zero times the sum of the activations. Signed
/// bytes without a dot product of their own move their signs to the activations instead.
template <class Codec>
constexpr bool kBias = !Codec::kMinimum && (kVnni || Codec::kSafe != 0);

constexpr int64_t kScales = kChunk * kPanel;
constexpr int64_t kMinimums = kScales + kBlocks * kPanel * 4;
constexpr int64_t kUnpacked = kMinimums + kBlocks * kPanel * 4;

/// The value, in a register: keeps GCC from regrouping sums into trees, which spill.
inline __m256i kept(__m256i value) {
  asm("" : "+x"(value));
  return value;
}

/// The exact dot products of 32 inputs, added to `sums`: `kRows` rows with both halves of a panel.
template <class Codec, int kRows>
inline __attribute__((always_inline)) void block_dots(const std::byte* w, const std::byte* x, int64_t stride,
                                                      __m256i (&sums)[kRows][2]) {
  constexpr int kGroups = kVnni || Codec::kSafe == 0 ? 8 : Codec::kSafe;
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
  for (int part = 0; part < 8; part += kGroups) {
    __m256i narrow[kRows][2];
#pragma GCC unroll 8
    for (int g = part; g < part + kGroups; ++g) {
      const __m256i weight[2] = {load(w + 64 * g), load(w + 64 * g + 32)};
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256i a = broadcast(x + r * stride + 4 * g);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          if constexpr (kVnni) {
            sums[r][h] = dot_bytes(sums[r][h], weight[h], a);
          } else if constexpr (Codec::kSafe == 0) {
            const __m256i product = _mm256_maddubs_epi16(_mm256_abs_epi8(weight[h]), _mm256_sign_epi8(a, weight[h]));
            sums[r][h] = kept(_mm256_add_epi32(sums[r][h], _mm256_madd_epi16(product, ones)));
          } else {
            const __m256i product = _mm256_maddubs_epi16(weight[h], a);
            narrow[r][h] = g == part ? product : kept(_mm256_add_epi16(narrow[r][h], product));
          }
        }
      }
    }
    if constexpr (!kVnni && Codec::kSafe != 0) {
      for (int r = 0; r < kRows; ++r) {
        for (int h = 0; h < 2; ++h) sums[r][h] = _mm256_add_epi32(sums[r][h], _mm256_madd_epi16(narrow[r][h], ones));
      }
    }
  }
}

inline __m256 load_float(const std::byte* from) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
}

template <class Codec, int kRows>
void block_tile(const Tile& tile) {
  const BlockRow row = BlockRow::of(tile.inputs);
  const int64_t stride = tile.activation_bytes;
  const int64_t to_bias = row.bias - row.scale;
  const int64_t to_sum = row.sum - row.scale;
  const std::byte* x = tile.activations + tile.begin;
  const std::byte* scale = tile.activations + row.scale + tile.begin / 8;
  const std::byte* w = tile.weights;
  const std::byte* w_scale = tile.weights + kScales;
  float* sums = tile.sums;
  __m256 y[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    for (int h = 0; h < 2; ++h)
      y[r][h] = tile.begin == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(sums + 16 * r + 8 * h);
  }
  for (int64_t left = tile.length; left > 0; left -= 32) {
    __m256i s[kRows][2];
    for (int r = 0; r < kRows; ++r) {
      s[r][0] = _mm256_setzero_si256();
      if constexpr (kBias<Codec>) s[r][0] = _mm256_srai_epi32(broadcast(scale + to_bias + r * stride), Codec::kShift);
      s[r][1] = s[r][0];
    }
    block_dots<Codec, kRows>(w, x, stride, s);
    for (int h = 0; h < 2; ++h) {
      const __m256 d = load_float(w_scale + 32 * h);
      for (int r = 0; r < kRows; ++r) {
        __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(s[r][h]), d);
        if constexpr (Codec::kMinimum) {
          const __m256 m = load_float(w_scale + (kMinimums - kScales) + 32 * h);
          product = _mm256_fmadd_ps(broadcast_float(scale + to_sum + r * stride), m, product);
        }
        y[r][h] = _mm256_fmadd_ps(product, broadcast_float(scale + r * stride), y[r][h]);
      }
    }
    x += 32;
    scale += 4;
    w += 512;
    w_scale += 64;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int h = 0; h < 2; ++h) _mm256_storeu_ps(sums + 16 * r + 8 * h, y[r][h]);
  }
}

/// Adds the products of 32 inputs with half a panel, straight from the packed planes.
template <class Codec, int kRows>
inline __attribute__((always_inline)) void few_rows_dots(const std::byte* low, const std::byte* high,
                                                         const std::byte* x, int64_t stride, int half,
                                                         __m256i (&s)[kRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
  __m256i narrow[kRows];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    Two w = Codec::read(low, high, j, half);
    if constexpr (!kVnni && Codec::kSafe == 0) {
      w.first = _mm256_xor_si256(w.first, flip);
      w.second = _mm256_xor_si256(w.second, flip);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i a = broadcast(x + r * stride + 4 * j);
      const __m256i b = broadcast(x + r * stride + 4 * j + 16);
      if constexpr (kVnni) {
        s[r] = dot_bytes(dot_bytes(s[r], w.first, a), w.second, b);
      } else if constexpr (Codec::kSafe == 0) {
        s[r] = dot_bytes(s[r], _mm256_abs_epi8(w.first), _mm256_sign_epi8(a, w.first));
        s[r] = kept(dot_bytes(s[r], _mm256_abs_epi8(w.second), _mm256_sign_epi8(b, w.second)));
      } else {
        const __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(w.first, a), _mm256_maddubs_epi16(w.second, b));
        narrow[r] = 2 * j % Codec::kSafe == 0 ? sum : _mm256_add_epi16(narrow[r], sum);
        if ((2 * j + 2) % Codec::kSafe == 0) s[r] = _mm256_add_epi32(s[r], _mm256_madd_epi16(narrow[r], ones));
      }
    }
  }
}

/// A few rows, unpacked in registers, one panel at a time: a single ascending stream.
template <class Codec, int kRows>
void block_few(const LinearArgs& args, int64_t panel, int64_t first_row) {
  const WeightLayout& layout = *args.layout;
  const BlockRow row = BlockRow::of(layout.inputs);
  const int64_t stride = row.bytes;
  const std::byte* base = args.packed + panel * layout.panel_bytes;
  const std::byte* x = args.activations + first_row * stride;
  const std::byte* scale = x + row.scale;
  __m256 y[kRows][2];
  for (int r = 0; r < kRows; ++r) y[r][0] = y[r][1] = _mm256_setzero_ps();
  constexpr int64_t kBlockBytes = Codec::kLow + Codec::kHigh + 32 * (Codec::kMinimum ? 2 : 1);
  const std::byte* block = base;
  for (int64_t index = 0; index * kChunk < layout.inputs; ++index) {
    const BlockChunk chunk = block_chunk(*layout.format, layout.inputs, base, index);
    for (int64_t b = 0; b < chunk.blocks; ++b) {
      prefetch_ahead(block, kBlockBytes);
      block += kBlockBytes;
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        __m256i s[kRows];
        for (int r = 0; r < kRows; ++r) {
          s[r] = _mm256_setzero_si256();
          if (!kBias<Codec>) continue;
          s[r] = _mm256_srai_epi32(broadcast(scale + (row.bias - row.scale) + r * stride), Codec::kShift);
        }
        few_rows_dots<Codec, kRows>(chunk.low + b * Codec::kLow, chunk.high + b * Codec::kHigh, x, stride, h, s);
        const __m256 d = Codec::scales(chunk.scale + 32 * b + 16 * h);
        for (int r = 0; r < kRows; ++r) {
          __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(s[r]), d);
          if constexpr (Codec::kMinimum) {
            const __m256 sum = broadcast_float(scale + (row.sum - row.scale) + r * stride);
            product = _mm256_fmadd_ps(sum, half_scales(chunk.minimum + 32 * b + 16 * h), product);
          }
          y[r][h] = _mm256_fmadd_ps(product, broadcast_float(scale + r * stride), y[r][h]);
        }
      }
      x += 32;
      scale += 4;
    }
  }
  alignas(32) float sums[kRows * kPanel];
  for (int r = 0; r < kRows; ++r) {
    for (int h = 0; h < 2; ++h) _mm256_store_ps(sums + r * kPanel + 8 * h, y[r][h]);
  }
  finish_rows(args, panel, 1, first_row, kRows, sums);
}

template <class Codec>
struct BlockKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 4;
  static constexpr int64_t kFew = 4;
  static constexpr int64_t kFewPairs = 0;
  static constexpr int64_t kFewRows = 8;
  static constexpr int64_t kInputBytes = 1;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kUnpacked; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const BlockChunk chunk = block_chunk(*layout.format, layout.inputs, packed + panel * layout.panel_bytes, index);
    const auto widen = [](auto scales, const std::byte* from, std::byte* to) {
      _mm256_storeu_ps(reinterpret_cast<float*>(to), scales(from));
      _mm256_storeu_ps(reinterpret_cast<float*>(to) + 8, scales(from + 16));
    };
    const __m256i flip = _mm256_set1_epi8(Codec::kSafe == 0 && !kVnni ? static_cast<char>(0x80) : char{0});
    for (int64_t b = 0; b < chunk.blocks; ++b) {
      for (int i = 0; i < 8; ++i) {
        const Two w = Codec::read(chunk.low + b * Codec::kLow, chunk.high + b * Codec::kHigh, i / 2, i % 2);
        store(out + 512 * b + 32 * i, _mm256_xor_si256(w.first, flip));
        store(out + 512 * b + 256 + 32 * i, _mm256_xor_si256(w.second, flip));
      }
      widen(Codec::scales, chunk.scale + 32 * b, out + kScales + 64 * b);
      if (Codec::kMinimum) widen(half_scales, chunk.minimum + 32 * b, out + kMinimums + 64 * b);
    }
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    block_tile<Codec, kRowCount>(tile);
  }
  template <int kCount, int kRowCount>
  static void few(const LinearArgs& args, int64_t panel, int64_t first_row) {
    block_few<Codec, kRowCount>(args, panel, first_row);
  }
};

template <class Codec>
constexpr LinearVariant block_row(std::string_view codec) {
  return {codec, kIsa, InputForm::kInt8Block, run_rows<BlockKernel<Codec>>, tiled_scratch_bytes<BlockKernel<Codec>>};
}

constexpr std::array kBlockRows{
    block_row<Bytes8>("q8_0"),
    block_row<With<Nibbles, false>>("q4_0"),
    block_row<With<Nibbles, true>>("q4_1"),
    block_row<With<Fives, false>>("q5_0"),
    block_row<With<Fives, true>>("q5_1"),
    block_row<Iq4Nl>("iq4_nl"),
    block_row<Mxfp4>("mxfp4"),
};

}  // namespace
}  // namespace lamina::kernels

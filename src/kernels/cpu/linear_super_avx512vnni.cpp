#include "kernels/cpu/linear_super_avx512.h"
#include "kernels/linear_isa.h"

// Super-blocks of 256: activations are unsigned (q + 128), weights signed bytes. What the 128 adds to a sum depends on
// the weights alone; unpack() computes it once and the sums start from its negative.
namespace lamina::kernels {

namespace {

/// S1 of every row and panel: exact integers.
template <class Codec, int kCount, int kRows>
inline __attribute__((always_inline)) void super_dots(const std::byte* w, const std::byte* x, int64_t stride,
                                                      __m512i (&all)[kRows][kCount]) {
  constexpr int kGroups = Codec::kSub == 256 ? 8 : Codec::kSub / 4;
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kCount; ++p) all[r][p] = _mm512_load_si512(w + p * kUnpacked + kStart);
  }
  const std::byte* scale = w + kScales;
  for (int s = 0; s < 64 / kGroups; ++s) {
    __m512i sub[kRows][kCount];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      __m512i weight[kCount];
      for (int p = 0; p < kCount; ++p) weight[p] = _mm512_load_si512(w + p * kUnpacked + 64 * g);
      for (int r = 0; r < kRows; ++r) {
        const __m512i a = broadcast(x + r * stride + 4 * g);
        for (int p = 0; p < kCount; ++p) {
          if constexpr (Codec::kSub == 256) {
            all[r][p] = _mm512_dpbusd_epi32(all[r][p], a, weight[p]);
          } else {
            sub[r][p] = _mm512_dpbusd_epi32(g == 0 ? _mm512_setzero_si512() : sub[r][p], a, weight[p]);
          }
        }
      }
    }
    if constexpr (Codec::kSub != 256) {
      for (int p = 0; p < kCount; ++p) {
        const __m512i factor = _mm512_load_si512(scale + p * kUnpacked);
        for (int r = 0; r < kRows; ++r) {
          all[r][p] = _mm512_add_epi32(all[r][p], _mm512_mullo_epi32(sub[r][p], factor));
        }
      }
    }
    w += 64 * kGroups;
    x += 4 * kGroups;
    scale += 64;
  }
}

template <class Codec, int kCount, int kRows>
void super_tile(const Tile& tile) {
  constexpr int kWidth = kCount * static_cast<int>(kPanel);
  const SuperRow row = SuperRow::of(tile.inputs);
  const int64_t stride = tile.activation_bytes;
  const int64_t block = tile.begin / kChunk;
  __m512i all[kRows][kCount];
  super_dots<Codec, kCount, kRows>(tile.weights, tile.activations + tile.begin, stride, all);
  const std::byte* scale = tile.activations + row.scale + 4 * block;
  const std::byte* sums =
      Codec::kPairs == 8 ? tile.activations + row.sum16 + 32 * block : tile.activations + row.sum32 + 16 * block;
  for (int r = 0; r < kRows; ++r) {
    const __m512 d = broadcast_float(scale + r * stride);
    for (int p = 0; p < kCount; ++p) {
      float* at = tile.sums + r * kWidth + 16 * p;
      const std::byte* panel = tile.weights + p * kUnpacked;
      __m512 y = tile.begin == 0 ? _mm512_setzero_ps() : _mm512_load_ps(at);
      y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(all[r][p]), _mm512_mul_ps(_mm512_load_ps(panel + kD), d), y);
      if constexpr (Codec::kPairs != 0) {
        __m512i low = _mm512_setzero_si512();
        for (int j = 0; j < Codec::kPairs; ++j) {
          low = _mm512_dpwssd_epi32(low, _mm512_load_si512(panel + kMinimums + 64 * j),
                                    broadcast(sums + r * stride + 4 * j));
        }
        y = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low), _mm512_mul_ps(_mm512_load_ps(panel + kDmin), d), y);
      }
      _mm512_store_ps(at, y);
    }
  }
}

/// Adds scale * dot of 32 inputs in registers to each row's `all`. `starts`: minus the zero times the sums per 16
/// activations.
template <class Codec, int kRows>
inline __attribute__((always_inline)) void few_rows_block(const SuperUnit& unit, int64_t b,
                                                          const std::byte (&x)[kRows][kChunk],
                                                          const std::byte (&starts)[kRows][64], const std::byte* scales,
                                                          __m512i (&all)[kRows]) {
  Group8 w;
  Codec::raw(unit, b, w);
  const __m512i first = Codec::row_scale(scales, Codec::kSub == 32 ? b : 2 * b);
  const __m512i second = Codec::kSub == 32 ? first : Codec::row_scale(scales, 2 * b + 1);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    __m512i s[2];
    for (int h = 0; h < 2; ++h) {
      s[h] = Codec::kZero == 0 ? _mm512_setzero_si512() : broadcast(starts[r] + 8 * b + 4 * h);
      for (int g = 4 * h; g < 4 * h + 4; ++g) s[h] = _mm512_dpbusd_epi32(s[h], w[g], broadcast(x[r] + 32 * b + 4 * g));
    }
    if constexpr (Codec::kSub == 32) {
      all[r] = _mm512_add_epi32(all[r], _mm512_mullo_epi32(_mm512_add_epi32(s[0], s[1]), first));
    } else if constexpr (Codec::kSub == 16) {
      const __m512i both = _mm512_add_epi32(_mm512_mullo_epi32(s[0], first), _mm512_mullo_epi32(s[1], second));
      all[r] = _mm512_add_epi32(all[r], both);
    } else {  // two and three bits: the dots fit 16 bits
      all[r] = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(all[r], s[0], first), s[1], second);
    }
  }
}

/// Sum of minimum * sum of activations; row_scales() put minimums behind the scales.
template <class Codec>
inline __attribute__((always_inline)) __m512i row_minimums(const std::byte* scales, const std::byte* sums) {
  constexpr int64_t kAt = Codec::kPairs == 8 ? 256 : 128;
  __m512i low = _mm512_setzero_si512();
  for (int64_t s = 0; s < 2 * Codec::kPairs; ++s) {
    const __m512i minimum = _mm512_cvtepu8_epi32(load16(scales + kAt + 16 * s));
    low = _mm512_dpwssd_epi32(low, minimum, _mm512_set1_epi32(load_as<uint16_t>(sums, s)));
  }
  return low;
}

/// The activations of 256 inputs as signed bytes, and minus the zero times their sums per 16.
template <class Codec>
inline void few_rows_inputs(const std::byte* activations, const std::byte* sum16, std::byte* x, std::byte* starts) {
  for (int64_t i = 0; i < kChunk; i += 64) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    _mm512_store_si512(x + i, _mm512_xor_si512(load(activations + i), flip));
  }
  if (Codec::kZero != 0) {
    const __m512i sums = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sum16)));
    _mm512_store_si512(starts, _mm512_mullo_epi32(sums, _mm512_set1_epi32(-Codec::kZero)));
  }
}

/// A few rows, unpacked in registers, one panel at a time: a single ascending stream.
template <class Codec, int kRows>
void super_few(const LinearArgs& args, int64_t panel, int64_t first_row) {
  const WeightLayout& layout = *args.layout;
  const SuperRow row = SuperRow::of(layout.inputs);
  const int64_t ahead = 2 * layout.format->panel_bytes;  // an eighth of a unit
  const std::byte* base = args.packed + panel * layout.panel_bytes;
  __m512 y[kRows];
  for (int r = 0; r < kRows; ++r) y[r] = _mm512_setzero_ps();
  alignas(64) std::byte x[kRows][kChunk];
  alignas(64) std::byte starts[kRows][64];
  alignas(64) std::byte scales[512];
  for (int64_t index = 0; index * kChunk < layout.inputs; ++index) {
    const std::byte* from = args.activations + first_row * row.bytes;
    for (int r = 0; r < kRows; ++r) {
      const std::byte* at = from + r * row.bytes;
      few_rows_inputs<Codec>(at + index * kChunk, at + row.sum16 + 32 * index, x[r], starts[r]);
    }
    const SuperUnit unit = super_unit(*layout.format, base, index);
    Codec::row_scales(unit, scales);
    __m512i all[kRows];
    for (int r = 0; r < kRows; ++r) all[r] = _mm512_setzero_si512();
    for (int64_t b = 0; b < 8; ++b) {
      prefetch_ahead(unit.low + b * ahead, ahead);
      few_rows_block<Codec, kRows>(unit, b, x, starts, scales, all);
    }
    for (int r = 0; r < kRows; ++r) {
      const std::byte* at = from + r * row.bytes;
      const __m512 d = broadcast_float(at + row.scale + 4 * index);
      y[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(all[r]), _mm512_mul_ps(row_unit_scale<Codec>(unit), d), y[r]);
      if constexpr (Codec::kPairs != 0) {
        const std::byte* sums = Codec::kPairs == 8 ? at + row.sum16 + 32 * index : at + row.sum32 + 16 * index;
        const __m512i low = row_minimums<Codec>(scales, sums);
        y[r] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low), _mm512_mul_ps(half_scales(unit.dmin), d), y[r]);
      }
    }
  }
  alignas(64) float sums[kRows * kPanel];
  for (int r = 0; r < kRows; ++r) _mm512_store_ps(sums + r * kPanel, y[r]);
  finish_rows(args, panel, 1, first_row, kRows, sums);
}

template <class Codec>
struct SuperKernel {
  static constexpr int64_t kPanels = 2;
  static constexpr int64_t kRows = 6;
  static constexpr int64_t kFew = 8;
  static constexpr int64_t kFewPairs = 0;
  static constexpr int64_t kFewRows = 16;
  static constexpr int64_t kInputBytes = 1;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kUnpacked; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    unpack_unit<Codec>(layout, packed, panel, index, out);
    write_start<Codec>(out);
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    super_tile<Codec, kCount, kRowCount>(tile);
  }
  template <int kCount, int kRowCount>
  static void few(const LinearArgs& args, int64_t panel, int64_t first_row) {
    super_few<Codec, kRowCount>(args, panel, first_row);
  }
};

constexpr std::array kRows = super_rows([]<class Codec>(std::string_view codec) {
  return LinearVariant{codec, core::Isa::kAvx512Vnni, InputForm::kInt8Super, run_rows<SuperKernel<Codec>>,
                       tiled_scratch_bytes<SuperKernel<Codec>>};
});

}  // namespace

std::span<const LinearVariant> linear_super_avx512vnni() {
  return kRows;
}

}  // namespace lamina::kernels

#pragma once

#include "kernels/cpu/linear_amx_driver.h"
#include "kernels/cpu/linear_super_avx512.h"

/// Super-blocks on tiles: a weight times its integer scale is one signed byte or two (256 * high + low), so a sum over
/// 256 inputs stays in a tile. Activations are unsigned (q + 128); the sums start from what the 128 adds too much.
namespace lamina::kernels {
namespace {

template <class TileSet, class Codec>
struct SuperTiles {
  using Tiles = TileSet;
  static constexpr bool kTwoDigits = Codec::kSub != 256;
  /// An unpacked panel as in linear_super_avx512.h, then the high digits.
  static constexpr int64_t kHighDigits = kUnpacked;
  static constexpr int64_t kUnpackedBytes = kUnpacked + (kTwoDigits ? kChunk * kPanel : 0);
  static constexpr int kWeights = 2;   ///< tiles 0 and 1 hold activations
  static constexpr int kProducts = 4;  ///< [tile of rows][column]
  /// A column of products is a digit of a panel, or a panel.
  static constexpr int kColumns = 2;
  static constexpr int64_t kColumnBytes = kTwoDigits ? kHighDigits : kUnpackedBytes;

  static TileConfig config(int64_t height) { return product_tiles(kWeights, kProducts, height, 64); }

  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    unpack_unit<Codec>(layout, packed, panel, index, out);
    if constexpr (kTwoDigits) {
      split_digits(out);
    } else {
      write_start<Codec>(out);
    }
  }

  /// Replaces the bytes by the low digits of byte * scale and adds the high digits and the start.
  static void split_digits(std::byte* out) {
    const __m512i ones = _mm512_set1_epi16(1);
    const __m512i half = _mm512_set1_epi16(128);
    const __m512i low_byte = _mm512_set1_epi16(0xff);
    __m512i all = _mm512_setzero_si512();
    for (int64_t g = 0; g < 64; ++g) {
      const __m512i scale = _mm512_load_si512(out + kScales + g / (Codec::kSub / 4) * 64);
      const __m512i both =
          _mm512_or_si512(_mm512_and_si512(scale, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(scale, 16));
      const __m512i w = _mm512_load_si512(out + 64 * g);
      const __m512i even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), both);
      const __m512i odd = _mm512_mullo_epi16(_mm512_srai_epi16(w, 8), both);
      all = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(all, even, ones), odd, ones);
      const __m512i low = _mm512_or_si512(_mm512_and_si512(even, low_byte), _mm512_slli_epi16(odd, 8));
      const __m512i high = _mm512_or_si512(_mm512_srli_epi16(_mm512_add_epi16(even, half), 8),
                                           _mm512_andnot_si512(low_byte, _mm512_add_epi16(odd, half)));
      _mm512_store_si512(out + 64 * g, low);
      _mm512_store_si512(out + kHighDigits + 64 * g, high);
    }
    _mm512_store_si512(out + kStart, _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), all), 7));
  }

  /// One step makes the products of one panel (two digits) or of two panels.
  template <int kRowTiles>
  static void multiply(const TileTask& task) {
    constexpr int64_t kPanelsAtOnce = kTwoDigits ? 1 : 2;
    int64_t panel = -1;
    std::byte* products = task.products;
    for (int64_t next = 0; next < task.panels; next += kPanelsAtOnce) {
      std::byte* made = task.products + next / kPanelsAtOnce % 2 * (kProductBytes / 2);
      if (kTwoDigits || task.panels - next >= 2) {
        make_products<kRowTiles, kColumns>(task, next, made);
      } else {
        make_products<kRowTiles, 1>(task, next, made);
      }
      if (panel >= 0) add_products<kRowTiles>(task, panel, products);
      panel = next;
      products = made;
    }
    add_products<kRowTiles>(task, panel, products);
  }

  template <int kRowTiles, int kCount>
  static void make_products(const TileTask& task, int64_t panel, std::byte* products) {
    const std::byte* weights = task.weights + panel * kUnpackedBytes;
    unrolled<kRowTiles * kCount>(
        [&](auto item) { Tiles::template zero<kProducts + kColumns*(item / kCount) + item % kCount>(); });
    unrolled<4>([&](auto part) {
      Tiles::template load<0>(task.activations[0] + task.begin + 64 * part, task.activation_bytes);
      unrolled<kCount>([&](auto column) {
        Tiles::template load<kWeights + column>(weights + column * kColumnBytes + kTileBytes * part, 64);
        Tiles::template dot_mixed<kProducts + column, 0, kWeights + column>();
      });
      if constexpr (kRowTiles == 2) {
        Tiles::template load<1>(task.activations[1] + task.begin + 64 * part, task.activation_bytes);
        unrolled<kCount>(
            [&](auto column) { Tiles::template dot_mixed<kProducts + kColumns + column, 1, kWeights + column>(); });
      }
    });
    unrolled<kRowTiles * kCount>([&](auto item) {
      constexpr int kAt = kColumns * (item / kCount) + item % kCount;
      Tiles::template store<kProducts + kAt>(products + kAt * kTileBytes, 64);
    });
  }

  template <int kRowTiles>
  static void add_products(const TileTask& task, int64_t panel, const std::byte* products) {
    add_panel<kRowTiles>(task, panel, products);
    if (!kTwoDigits && panel + 1 < task.panels) add_panel<kRowTiles>(task, panel + 1, products + kTileBytes);
  }

  template <int kRowTiles>
  static void add_panel(const TileTask& task, int64_t panel, const std::byte* products) {
    const SuperRow row = SuperRow::of(task.inputs);
    const int64_t block = task.begin / kChunk;
    const std::byte* weights = task.weights + panel * kUnpackedBytes;
    const int64_t to_sum =
        (Codec::kPairs == 8 ? row.sum16 + 32 * block : row.sum32 + 16 * block) - (row.scale + 4 * block);
    const __mmask16 goes_on = task.begin == 0 ? 0 : 0xffff;
    const __m512i start = _mm512_load_si512(weights + kStart);
    const __m512 d = _mm512_load_ps(weights + kD);
    const __m512 dmin = Codec::kPairs != 0 ? _mm512_load_ps(weights + kDmin) : d;
    for (int t = 0; t < kRowTiles; ++t) {
      const std::byte* scale = task.activations[t] + row.scale + 4 * block;
      const std::byte* at = products + t * kColumns * kTileBytes;
      float* sums = task.sums + (t * task.height * task.panels + panel) * kPanel;
      for (int64_t r = 0; r < task.height; ++r) {
        __m512i s = _mm512_add_epi32(_mm512_load_si512(at), start);
        if (kTwoDigits) s = _mm512_add_epi32(s, _mm512_slli_epi32(_mm512_load_si512(at + kTileBytes), 8));
        const __m512 dx = broadcast_float(scale);
        __m512 y = _mm512_maskz_load_ps(goes_on, sums);
        y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s), _mm512_mul_ps(d, dx), y);
        if constexpr (Codec::kPairs != 0) {
          __m512i low = _mm512_setzero_si512();
          for (int j = 0; j < Codec::kPairs; ++j) {
            low = _mm512_dpwssd_epi32(low, _mm512_load_si512(weights + kMinimums + 64 * j),
                                      broadcast(scale + to_sum + 4 * j));
          }
          y = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low), _mm512_mul_ps(dmin, dx), y);
        }
        _mm512_store_ps(sums, y);
        scale += task.activation_bytes;
        at += 64;
        sums += task.panels * kPanel;
      }
    }
  }
};

}  // namespace
}  // namespace lamina::kernels

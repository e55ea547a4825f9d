#include "kernels/cpu/linear_block_avx512.h"
#include "kernels/linear_isa.h"

// vpdpbusd multiplies unsigned weights by signed activations: symmetric formats are lifted to unsigned, and the sums
// start at minus the lift times the sum of the activations, so no instruction is spent on signs.
namespace lamina::kernels {

namespace {

template <int kPanels, int kRows, bool kMinimum>
void block_tile(const Tile& tile) {
  constexpr int kWidth = kPanels * static_cast<int>(kPanel);
  const BlockRow row = BlockRow::of(tile.inputs);
  const __mmask16 goes_on = tile.begin == 0 ? 0 : 0xffff;  // a branch here makes GCC 12 keep the sums in memory
  __m512 y[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) y[r][p] = _mm512_maskz_load_ps(goes_on, tile.sums + r * kWidth + 16 * p);
  }
  const std::byte* x = tile.activations + tile.begin;
  const std::byte* scale = tile.activations + row.scale + tile.begin / 8;
  const int64_t to_bias = row.bias - row.scale;
  const int64_t to_sum = row.sum - row.scale;
  const std::byte* w = tile.weights;
  const std::byte* w_scale = tile.weights + kScales;
  for (int64_t left = tile.length; left > 0; left -= 32) {
    __m512i s[kRows][kPanels];
    for (int r = 0; r < kRows; ++r) {
      const __m512i start = kMinimum ? _mm512_setzero_si512() : broadcast(scale + to_bias + r * tile.activation_bytes);
      for (int p = 0; p < kPanels; ++p) s[r][p] = start;
    }
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) {
      __m512i weight[kPanels];
      for (int p = 0; p < kPanels; ++p) weight[p] = _mm512_load_si512(w + p * kUnpacked + 64 * g);
      for (int r = 0; r < kRows; ++r) {
        const __m512i a = broadcast(x + r * tile.activation_bytes + 4 * g);
        for (int p = 0; p < kPanels; ++p) s[r][p] = _mm512_dpbusd_epi32(s[r][p], weight[p], a);
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      const __m512 d = _mm512_load_ps(w_scale + p * kUnpacked);
      for (int r = 0; r < kRows; ++r) {
        const std::byte* at = scale + r * tile.activation_bytes;
        __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(s[r][p]), d);
        if constexpr (kMinimum) {
          const __m512 m = _mm512_load_ps(w_scale + (kMinimums - kScales) + p * kUnpacked);
          product = _mm512_fmadd_ps(broadcast_float(at + to_sum), m, product);
        }
        y[r][p] = _mm512_fmadd_ps(product, broadcast_float(at), y[r][p]);
      }
    }
    x += 32;
    scale += 4;
    w += 512;
    w_scale += 64;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) _mm512_store_ps(tile.sums + r * kWidth + 16 * p, y[r][p]);
  }
}

/// A few rows, unpacked in registers. One panel at a time: a single ascending stream is what the prefetchers follow
/// best (two side by side ran at half the bandwidth).
template <class Codec, int kRows>
void block_few(const LinearArgs& args, int64_t panel, int64_t first_row) {
  const WeightLayout& layout = *args.layout;
  const BlockRow row = BlockRow::of(layout.inputs);
  const int64_t stride = row.bytes;
  const std::byte* base = args.packed + panel * layout.panel_bytes;
  const std::byte* x = args.activations + first_row * stride;
  const std::byte* scale = x + row.scale;
  __m512 y[kRows];
  for (int r = 0; r < kRows; ++r) y[r] = _mm512_setzero_ps();
  constexpr int64_t kBlockBytes = Codec::kLow + Codec::kHigh + 32 * (Codec::kMinimum ? 2 : 1);
  const std::byte* block = base;
  for (int64_t index = 0; index * kChunk < layout.inputs; ++index) {
    const BlockChunk chunk = block_chunk(*layout.format, layout.inputs, base, index);
    for (int64_t b = 0; b < chunk.blocks; ++b) {
      Group8 w;
      Codec::read(chunk.low + b * Codec::kLow, chunk.high + b * Codec::kHigh, w);
      prefetch_ahead(block, kBlockBytes);
      block += kBlockBytes;
      const __m512 d = Codec::scales(chunk.scale + 32 * b);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const std::byte* at = scale + r * stride;
        __m512i s = _mm512_setzero_si512();
        if (!Codec::kMinimum) s = _mm512_srai_epi32(broadcast(at + (row.bias - row.scale)), Codec::kShift);
        for (int g = 0; g < 8; ++g) s = _mm512_dpbusd_epi32(s, w[g], broadcast(x + r * stride + 4 * g));
        __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(s), d);
        if constexpr (Codec::kMinimum) {
          const __m512 sum = broadcast_float(at + (row.sum - row.scale));
          product = _mm512_fmadd_ps(sum, half_scales(chunk.minimum + 32 * b), product);
        }
        y[r] = _mm512_fmadd_ps(product, broadcast_float(at), y[r]);
      }
      x += 32;
      scale += 4;
    }
  }
  alignas(64) float sums[kRows * kPanel];
  for (int r = 0; r < kRows; ++r) _mm512_store_ps(sums + r * kPanel, y[r]);
  finish_rows(args, panel, 1, first_row, kRows, sums);
}

template <class Codec>
struct BlockKernel {
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
    unpack_blocks<Codec, Codec::kLift>(layout, packed, panel, index, out);
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    block_tile<kCount, kRowCount, Codec::kMinimum>(tile);
  }
  template <int kCount, int kRowCount>
  static void few(const LinearArgs& args, int64_t panel, int64_t first_row) {
    block_few<Codec, kRowCount>(args, panel, first_row);
  }
};

constexpr std::array kRows = block_rows([]<class Codec>(std::string_view codec) {
  return LinearVariant{codec, core::Isa::kAvx512Vnni, InputForm::kInt8Block, run_rows<BlockKernel<Codec>>,
                       tiled_scratch_bytes<BlockKernel<Codec>>};
});

}  // namespace

std::span<const LinearVariant> linear_avx512vnni() {
  return kRows;
}

}  // namespace lamina::kernels

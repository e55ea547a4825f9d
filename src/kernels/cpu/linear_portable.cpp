#include <array>
#include <cmath>

#include "kernels/linear_columns.h"
#include "kernels/linear_decode.h"
#include "kernels/linear_driver.h"
#include "kernels/linear_isa.h"

namespace lamina::kernels {

namespace {

/// y = fma(w, x, y) for 16 outputs. Without the instruction, std::fma is a library call of 3 ns. A product of floats is
/// exact in double, so rounding the double sum to float gives the same bits unless the sum was rounded onto the middle
/// between two floats. Computing threads flush denormals, so the middle is always bit 28.
void multiply_add(const float* w, float x, std::array<float, kPanel>& y) {
#ifndef FP_FAST_FMAF
  std::array<double, kPanel> sum;
  for (size_t o = 0; o < kPanel; ++o) sum[o] = double{w[o]} * double{x} + double{y[o]};
  const auto bits = std::bit_cast<std::array<uint64_t, kPanel>>(sum);
  uint32_t middle = 0;
  for (size_t o = 0; o < kPanel; ++o) middle |= static_cast<uint32_t>(bits[o]) << 3 == 0x80000000U ? 1U : 0U;
  if (middle == 0) [[likely]] {
    for (size_t o = 0; o < kPanel; ++o) y[o] = static_cast<float>(sum[o]);
    return;
  }
#endif
  for (size_t o = 0; o < kPanel; ++o) y[o] = std::fma(w[o], x, y[o]);
}

/// float32 weights [inputs][16] of a chunk.
struct FloatTile {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 1;
  static constexpr int64_t kInputBytes = 4;

  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    const auto* w = reinterpret_cast<const float*>(tile.weights);
    const auto* x = reinterpret_cast<const float*>(tile.activations) + tile.begin;
    std::array<float, kPanel> y{};
    if (tile.begin != 0) std::memcpy(y.data(), tile.sums, sizeof(y));
    for (int64_t k = 0; k < tile.length; ++k) multiply_add(w + k * kPanel, x[k], y);
    std::memcpy(tile.sums, y.data(), sizeof(y));
  }
};

struct FloatKernel : FloatTile {
  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kChunk * kPanel * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const PanelFormat& format = *layout.format;
    const std::byte* from = packed + panel * layout.panel_bytes + index * kChunk * kPanel * format.block_bytes;
    const int64_t count = smaller(kChunk, layout.inputs - index * kChunk) * kPanel;
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t bits = format.block_bytes == 4 ? load_as<uint32_t>(from, i) : load_as<uint16_t>(from, i);
      store_as(out, i, format.widen(bits));
    }
  }
};

/// float32 weights [inputs][16] of bfloat16 pairs.
struct PairKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 1;
  static constexpr int64_t kInputBytes = 2;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kChunk * kPanel * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const std::byte* from = packed + panel * layout.panel_bytes + index * kChunk * kPanel * 2;
    const int64_t count = smaller(kChunk, layout.format->padded(layout.inputs) - index * kChunk);
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t o = 0; o < kPanel; ++o) {
        const auto bits = load_as<uint16_t>(from, (k / 2 * kPanel + o) * 2 + k % 2);
        store_as(out, k * kPanel + o, std::bit_cast<float>(uint32_t{bits} << 16));
      }
    }
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    const auto* w = reinterpret_cast<const float*>(tile.weights);
    std::array<float, kPanel> y{};
    if (tile.begin != 0) std::memcpy(y.data(), tile.sums, sizeof(y));
    for (int64_t k = 0; k < tile.length; k += 2) {
      for (const int64_t at : {k + 1, k}) {  // the odd one first
        const auto bits = load_as<uint16_t>(tile.activations, tile.begin + at);
        multiply_add(w + at * kPanel, std::bit_cast<float>(uint32_t{bits} << 16), y);
      }
    }
    std::memcpy(tile.sums, y.data(), sizeof(y));
  }
};

struct DecodedKernel : FloatTile {
  static int64_t chunk(const WeightLayout& layout) { return decoded_chunk(layout); }
  static int64_t unpacked_bytes(const WeightLayout& layout) { return decoded_chunk(layout) * (kPanel + 1) * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    auto* floats = reinterpret_cast<float*>(out);
    decode_panel_chunk(layout, packed, panel, index, floats + decoded_chunk(layout) * kPanel, floats);
  }
};

/// A matrix that lies input by input. It is read whole: without vectors, time goes into numbers and not into memory.
struct ColumnKernel : FloatTile {
  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kChunk * kPanel * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    unpack_columns(layout, packed, panel, index * kChunk, kChunk, out);
  }
};

/// Blocks of 32 as int8 [groups][16][4], then float32 scales and minimums [blocks][16].
struct BlockKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 1;
  static constexpr int64_t kInputBytes = 1;
  static constexpr int64_t kScales = kChunk * kPanel;
  static constexpr int64_t kMinimums = kScales + kChunk / 32 * kPanel * 4;
  static constexpr int64_t kBytes = kMinimums + kChunk / 32 * kPanel * 4;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kBytes; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const PanelFormat& format = *layout.format;
    const BlockChunk chunk = block_chunk(format, layout.inputs, packed + panel * layout.panel_bytes, index);
    for (int64_t b = 0; b < chunk.blocks; ++b) {
      for (int64_t o = 0; o < kPanel; ++o) {
        const int64_t at = b * kPanel + o;
        store_as(out + kScales, at, format.widen_scale(load_as<uint16_t>(chunk.scale, at)));
        const uint16_t low = format.minimum ? load_as<uint16_t>(chunk.minimum, at) : uint16_t{0};
        store_as(out + kMinimums, at, half_to_float(low));
        for (int64_t k = 0; k < 32; ++k) {
          const auto q = static_cast<int8_t>(format.number(block_raw(format, chunk, b, k, o)));
          store_as(out, (b * 32 + k / 4 * 4) * kPanel + 4 * o + k % 4, q);
        }
      }
    }
  }
  template <bool kMinimum>
  static void tile_of(const Tile& tile) {
    const BlockRow row = BlockRow::of(tile.inputs);
    std::array<float, kPanel> y{};
    if (tile.begin != 0) std::memcpy(y.data(), tile.sums, sizeof(y));
    for (int64_t b = 0; b < tile.length / 32; ++b) {
      const auto* x = reinterpret_cast<const int8_t*>(tile.activations) + tile.begin + 32 * b;
      const auto* w = reinterpret_cast<const int8_t*>(tile.weights) + 32 * b * kPanel;
      std::array<int32_t, kPanel> dot{};
      for (size_t k = 0; k < 32; ++k) {
        for (size_t o = 0; o < kPanel; ++o) dot[o] += w[k / 4 * 64 + 4 * o + k % 4] * x[k];
      }
      const int64_t at = tile.begin / 32 + b;
      const auto d = load_as<float>(tile.activations + row.scale, at);
      const auto sum = load_as<float>(tile.activations + row.sum, at);
      for (size_t o = 0; o < kPanel; ++o) {
        const int64_t lane = b * kPanel + static_cast<int64_t>(o);
        float p = static_cast<float>(dot[o]) * load_as<float>(tile.weights + kScales, lane);
        if (kMinimum) p = std::fma(sum, load_as<float>(tile.weights + kMinimums, lane), p);
        y[o] = std::fma(p, d, y[o]);
      }
    }
    std::memcpy(tile.sums, y.data(), sizeof(y));
  }
};

struct PlainBlockKernel : BlockKernel {
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    tile_of<false>(tile);
  }
};
struct MinimumBlockKernel : BlockKernel {
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    tile_of<true>(tile);
  }
};

/// A super-block as int8 [groups][16][4], int16 scales and minimums [16 sub-blocks][16], float32 d and dmin [16].
struct SuperKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 1;
  static constexpr int64_t kInputBytes = 1;
  static constexpr int64_t kScales = kChunk * kPanel;
  static constexpr int64_t kMinimums = kScales + 16 * kPanel * 2;
  static constexpr int64_t kD = kMinimums + 16 * kPanel * 2;
  static constexpr int64_t kDmin = kD + kPanel * 4;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kDmin + kPanel * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const PanelFormat& format = *layout.format;
    const SuperUnit unit = super_unit(format, packed + panel * layout.panel_bytes, index);
    for (int64_t o = 0; o < kPanel; ++o) {
      store_as(out + kD, o, half_to_float(load_as<uint16_t>(unit.d, o)) * format.factor);
      const uint16_t dmin = format.minimum ? load_as<uint16_t>(unit.dmin, o) : uint16_t{0};
      store_as(out + kDmin, o, half_to_float(dmin));
      for (int64_t s = 0; s < 16; ++s) {
        store_as(out + kScales, s * kPanel + o, static_cast<int16_t>(super_scale(format, unit, s, o)));
        store_as(out + kMinimums, s * kPanel + o, static_cast<int16_t>(super_minimum(format, unit, s, o)));
      }
      for (int64_t k = 0; k < 256; ++k) {
        const auto q = static_cast<int8_t>(super_number(format, unit, k, o));
        store_as(out, k / 4 * 64 + 4 * o + k % 4, q);
      }
    }
  }
  template <bool kMinimum>
  static void tile_of(const Tile& tile) {
    const SuperRow row = SuperRow::of(tile.inputs);
    const auto* x = reinterpret_cast<const uint8_t*>(tile.activations) + tile.begin;
    const auto* w = reinterpret_cast<const int8_t*>(tile.weights);
    std::array<int32_t, kPanel> all{};
    std::array<int32_t, kPanel> low{};
    for (size_t s = 0; s < 16; ++s) {
      std::array<int32_t, kPanel> dot{};
      for (size_t k = 16 * s; k < 16 * s + 16; ++k) {
        for (size_t o = 0; o < kPanel; ++o) dot[o] += w[k / 4 * 64 + 4 * o + k % 4] * (x[k] - 128);
      }
      const auto sum = load_as<int16_t>(tile.activations + row.sum16, tile.begin / 16 + static_cast<int64_t>(s));
      for (size_t o = 0; o < kPanel; ++o) {
        const auto at = static_cast<int64_t>(s * kPanel + o);
        all[o] += dot[o] * load_as<int16_t>(tile.weights + kScales, at);
        if (kMinimum) low[o] += sum * load_as<int16_t>(tile.weights + kMinimums, at);
      }
    }
    const auto d = load_as<float>(tile.activations + row.scale, tile.begin / kChunk);
    for (size_t o = 0; o < kPanel; ++o) {
      const auto lane = static_cast<int64_t>(o);
      float y = tile.begin != 0 ? tile.sums[o] : 0.0F;
      y = std::fma(static_cast<float>(all[o]), load_as<float>(tile.weights + kD, lane) * d, y);
      if (kMinimum) y = std::fma(-static_cast<float>(low[o]), load_as<float>(tile.weights + kDmin, lane) * d, y);
      tile.sums[o] = y;
    }
  }
};

struct PlainSuperKernel : SuperKernel {
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    tile_of<false>(tile);
  }
};
struct MinimumSuperKernel : SuperKernel {
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    tile_of<true>(tile);
  }
};

template <class Kernel>
constexpr LinearVariant row(std::string_view codec, InputForm activation) {
  return {codec, core::Isa::kScalar, activation, run_tiled<Kernel>, tiled_scratch_bytes<Kernel>};
}

constexpr std::array kRows{
    row<DecodedKernel>("*", InputForm::kFloat),
    row<FloatKernel>("f32", InputForm::kFloat),
    row<FloatKernel>("f16", InputForm::kFloat),
    row<FloatKernel>("bf16", InputForm::kFloat),
    row<PairKernel>("bf16", InputForm::kBf16),
    row<PlainBlockKernel>("q8_0", InputForm::kInt8Block),
    row<PlainBlockKernel>("q4_0", InputForm::kInt8Block),
    row<MinimumBlockKernel>("q4_1", InputForm::kInt8Block),
    row<PlainBlockKernel>("q5_0", InputForm::kInt8Block),
    row<MinimumBlockKernel>("q5_1", InputForm::kInt8Block),
    row<PlainBlockKernel>("iq4_nl", InputForm::kInt8Block),
    row<PlainBlockKernel>("mxfp4", InputForm::kInt8Block),
    row<MinimumSuperKernel>("q2_k", InputForm::kInt8Super),
    row<PlainSuperKernel>("q3_k", InputForm::kInt8Super),
    row<MinimumSuperKernel>("q4_k", InputForm::kInt8Super),
    row<MinimumSuperKernel>("q5_k", InputForm::kInt8Super),
    row<PlainSuperKernel>("q6_k", InputForm::kInt8Super),
    row<PlainSuperKernel>("iq4_xs", InputForm::kInt8Super),
    row<PlainSuperKernel>("cb2", InputForm::kInt8Super),
    row<PlainSuperKernel>("iq3_s", InputForm::kInt8Super),
    row<PlainSuperKernel>("iq3_xxs", InputForm::kInt8Super),
    row<PlainSuperKernel>("iq2_s", InputForm::kInt8Super),
    row<PlainSuperKernel>("iq2_xs", InputForm::kInt8Super),
    row<PlainSuperKernel>("iq2_xxs", InputForm::kInt8Super),
    row<ColumnKernel>("f32", InputForm::kLargest),
    row<ColumnKernel>("f16", InputForm::kLargest),
    row<ColumnKernel>("bf16", InputForm::kLargest),
    row<ColumnKernel>("q8_0", InputForm::kLargest),
};

}  // namespace

std::span<const LinearVariant> linear_portable() {
  return kRows;
}

}  // namespace lamina::kernels

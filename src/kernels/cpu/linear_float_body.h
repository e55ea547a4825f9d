#pragma once

#include "kernels/linear_columns.h"
#include "kernels/linear_decode.h"
#include "kernels/linear_driver.h"

/// The float family, written once over `Lanes`: kParts vectors per panel (16 outputs), one fma per input in ascending
/// order. Included by each instruction set's file, hence internal linkage.
namespace lamina::kernels {
namespace {

/// Weights of neighbouring panels lie `panel_bytes` apart.
template <class Lanes, int kCount, int kRows>
void float_tile(const Tile& tile, int64_t panel_bytes) {
  using Vector = typename Lanes::Vector;
  constexpr int kWidth = kCount * static_cast<int>(kPanel);
  constexpr int kParts = Lanes::kParts;
  constexpr int kVectors = kCount * kParts;
  constexpr int kLanes = static_cast<int>(kPanel) / kParts;
  Vector y[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      y[r][v] = tile.begin == 0 ? Lanes::zero() : Lanes::load(tile.sums + r * kWidth + kLanes * v);
    }
  }
  const int64_t stride = tile.activation_bytes;
  const std::byte* x = tile.activations + 4 * tile.begin;
  const std::byte* w = tile.weights;
  for (int64_t left = tile.length; left > 0; --left) {
    Vector weight[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const std::byte* from = w + v / kParts * panel_bytes + v % kParts * kLanes * 4;
      weight[v] = Lanes::load(reinterpret_cast<const float*>(from));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector a = Lanes::broadcast(x + r * stride);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) y[r][v] = Lanes::fma(weight[v], a, y[r][v]);
    }
    x += 4;
    w += 4 * kPanel;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) Lanes::store(tile.sums + r * kWidth + kLanes * v, y[r][v]);
  }
}

struct F32 {
  static constexpr int64_t kBytes = 4;
  template <class Lanes>
  static typename Lanes::Vector load(const std::byte* from) {
    return Lanes::load(reinterpret_cast<const float*>(from));
  }
};
struct F16 {
  static constexpr int64_t kBytes = 2;
  template <class Lanes>
  static typename Lanes::Vector load(const std::byte* from) {
    return Lanes::load_f16(from);
  }
};
struct Bf16 {
  static constexpr int64_t kBytes = 2;
  template <class Lanes>
  static typename Lanes::Vector load(const std::byte* from) {
    return Lanes::load_bf16(from);
  }
};

/// A few rows straight from the packed panels. Two panels side by side hide the latency of the multiply-adds.
template <class Lanes, class Number, int kCount, int kRows>
void float_few(const LinearArgs& args, int64_t panel, int64_t first_row) {
  constexpr int kVectors = kCount * Lanes::kParts;
  constexpr int64_t kLanes = kPanel / Lanes::kParts;
  constexpr int64_t kLine = 64 / (kPanel * Number::kBytes);  // inputs per 64 bytes, or 1
  constexpr int64_t kStep = kLine == 0 ? 1 : kLine;
  const int64_t stride = args.layout->inputs * 4;
  const std::byte* w = args.packed + panel * args.layout->panel_bytes;
  const std::byte* x = args.activations + first_row * stride;
  typename Lanes::Vector y[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) y[r][v] = Lanes::zero();
  }
  const auto input = [&](int64_t k) {
    typename Lanes::Vector weight[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = (k * kPanel + v % Lanes::kParts * kLanes) * Number::kBytes;
      weight[v] = Number::template load<Lanes>(w + v / Lanes::kParts * args.layout->panel_bytes + at);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto a = Lanes::broadcast(x + r * stride + 4 * k);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) y[r][v] = Lanes::fma(weight[v], a, y[r][v]);
    }
  };
  int64_t k = 0;
  for (; k + kStep <= args.layout->inputs; k += kStep) {
    for (int p = 0; p < kCount; ++p) prefetch_ahead(w + p * args.layout->panel_bytes + k * kPanel * Number::kBytes, 64);
    for (int64_t i = 0; i < kStep; ++i) input(k + i);
  }
  for (; k < args.layout->inputs; ++k) input(k);
  alignas(64) float sums[kRows * kCount * kPanel];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) Lanes::store(sums + r * kCount * kPanel + v * kLanes, y[r][v]);
  }
  finish_rows(args, panel, kCount, first_row, kRows, sums);
}

/// Chunks of 64 inputs widened to float32: the panels of one tile then share the first cache level with the rows.
template <class Lanes, class Number>
struct FloatKernel {
  static constexpr int64_t kPanels = Lanes::kTilePanels;
  static constexpr int64_t kRows = 6;
  static constexpr int64_t kInputs = 64;
  static constexpr int64_t kFew = 6;
  static constexpr int64_t kFewPairs = 3;
  static constexpr int64_t kFewRows = 12;
  static constexpr int64_t kInputBytes = 4;

  static int64_t chunk(const WeightLayout&) { return kInputs; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kInputs * kPanel * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const std::byte* from = packed + panel * layout.panel_bytes + index * kInputs * kPanel * Number::kBytes;
    const int64_t length = smaller(kInputs, layout.inputs - index * kInputs);
    for (int64_t k = 0; k < length; ++k) {
      for (int64_t v = 0; v < Lanes::kParts; ++v) {
        const int64_t at = k * kPanel + v * (kPanel / Lanes::kParts);
        Lanes::store(reinterpret_cast<float*>(out) + at, Number::template load<Lanes>(from + at * Number::kBytes));
      }
    }
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    float_tile<Lanes, kCount, kRowCount>(tile, kInputs * kPanel * 4);
  }
  template <int kCount, int kRowCount>
  static void few(const LinearArgs& args, int64_t panel, int64_t first_row) {
    float_few<Lanes, Number, kCount, kRowCount>(args, panel, first_row);
  }
};

/// Any codec: its own decoder, then the float family.
template <class Lanes>
struct DecodedKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 6;
  static constexpr int64_t kInputBytes = 4;

  static int64_t chunk(const WeightLayout& layout) { return decoded_chunk(layout); }
  static int64_t unpacked_bytes(const WeightLayout& layout) { return decoded_chunk(layout) * (kPanel + 1) * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    auto* floats = reinterpret_cast<float*>(out);
    decode_panel_chunk(layout, packed, panel, index, floats + decoded_chunk(layout) * kPanel, floats);
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    float_tile<Lanes, kCount, kRowCount>(tile, 0);
  }
};

/// A matrix that lies input by input, widened chunk by chunk.
template <class Lanes>
struct ColumnKernel {
  static constexpr int64_t kPanels = Lanes::kTilePanels;
  static constexpr int64_t kRows = 6;
  static constexpr int64_t kInputs = 64;
  static constexpr int64_t kInputBytes = 4;

  static int64_t chunk(const WeightLayout&) { return kInputs; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kInputs * kPanel * 4; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    unpack_columns(layout, packed, panel, index * kInputs, kInputs, out);
  }
  template <int kCount, int kRowCount>
  static void tile(const Tile& tile) {
    float_tile<Lanes, kCount, kRowCount>(tile, kInputs * kPanel * 4);
  }
};

template <class Lanes>
constexpr LinearVariant column_row(std::string_view codec, core::Isa isa) {
  return {codec, isa, InputForm::kLargest, run_columns<ColumnKernel<Lanes>>, column_scratch_bytes<ColumnKernel<Lanes>>};
}
template <class Lanes, class Number>
constexpr LinearVariant float_row(std::string_view codec, core::Isa isa) {
  return {codec, isa, InputForm::kFloat, run_rows<FloatKernel<Lanes, Number>>,
          tiled_scratch_bytes<FloatKernel<Lanes, Number>>};
}
template <class Lanes>
constexpr LinearVariant decoded_row(core::Isa isa) {
  return {"*", isa, InputForm::kFloat, run_tiled<DecodedKernel<Lanes>>, tiled_scratch_bytes<DecodedKernel<Lanes>>};
}

}  // namespace
}  // namespace lamina::kernels

#pragma once

#include "kernels/cpu/linear_amx_driver.h"
#include "kernels/linear_isa.h"

/// Rows of the table for tile kernels. Few rows go to the codec's vector kernel, which gives the same bits: integers
/// are exact, and the order of the floats is the same.
namespace lamina::kernels {
namespace {

/// A product of tiles costs about as much as this many rows of vector instructions.
constexpr int64_t kLeastTileRows = 8;

using VariantTable = std::span<const LinearVariant> (*)();

inline const LinearVariant& vector_row(VariantTable table, const WeightLayout& layout) {
  for (const LinearVariant& variant : table()) {
    if (variant.codec == layout.codec->format.name) return variant;
  }
  __builtin_unreachable();
}

template <class Kernel, VariantTable kVector>
void run_tiles_or_vectors(const LinearArgs& args) {
  if (args.rows < kLeastTileRows) return vector_row(kVector, *args.layout).run(args);
  run_tiles<Kernel>(args);
}

template <class Kernel, VariantTable kVector>
int64_t tiles_or_vectors_scratch_bytes(const WeightLayout& layout, int64_t rows) {
  const int64_t vectors = vector_row(kVector, layout).scratch_bytes(layout, smaller(rows, kLeastTileRows - 1));
  const int64_t tiles = rows < kLeastTileRows ? 0 : tiles_scratch_bytes<Kernel>(layout, rows);
  return vectors > tiles ? vectors : tiles;
}

template <class Kernel, VariantTable kVector>
constexpr LinearVariant tiles_row(std::string_view codec, InputForm activation) {
  return {codec, core::Isa::kAmxInt8, activation, run_tiles_or_vectors<Kernel, kVector>,
          tiles_or_vectors_scratch_bytes<Kernel, kVector>};
}

}  // namespace
}  // namespace lamina::kernels

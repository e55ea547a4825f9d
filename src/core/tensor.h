#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lamina::core {

/// How numbers lie in memory: `block_bytes` bytes hold `block_elements` consecutive elements of a row.
struct NumberFormat {
  std::string_view name;
  int64_t block_elements = 1;
  int64_t block_bytes = 0;

  /// Bytes of a row; `elements` must be a multiple of block_elements.
  int64_t row_bytes(int64_t elements) const { return elements / block_elements * block_bytes; }
};

inline constexpr int kMaxRank = 4;

/// A borrowed, dense tensor. shape[0] is the outermost dimension and the last one is contiguous (rows of blocks).
struct TensorView {
  const NumberFormat* format = nullptr;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{1, 1, 1, 1};
  const std::byte* data = nullptr;

  int64_t columns() const { return rank == 0 ? 1 : shape[static_cast<size_t>(rank - 1)]; }
  int64_t elements() const {
    int64_t count = 1;
    for (int i = 0; i < rank; ++i) count *= shape[static_cast<size_t>(i)];
    return count;
  }
  int64_t rows() const { return columns() == 0 ? 0 : elements() / columns(); }
  int64_t row_bytes() const { return format->row_bytes(columns()); }
  int64_t bytes() const { return rows() * row_bytes(); }
  const std::byte* row(int64_t index) const { return data + index * row_bytes(); }
};

}  // namespace lamina::core

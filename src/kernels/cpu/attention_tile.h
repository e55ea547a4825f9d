#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention.h"

/// The small matrix product that attention is made of: up to 8 rows times up to 4 groups of 16 lanes, kept in
/// registers. Lanes are keys for q.k and dimensions for p.v. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

constexpr int kBlockRows = 8;   ///< at most
constexpr int kUsualBlock = 6;  ///< the best of many rows

template <typename L>
struct NumberF32 {
  static constexpr int64_t kBytes = 4;
  static typename L::V load(const std::byte* p) { return L::load(reinterpret_cast<const float*>(p)); }
};

template <typename L>
struct NumberF16 {
  static constexpr int64_t kBytes = 2;
  static typename L::V load(const std::byte* p) { return L::load_f16(p); }
};

template <typename L>
struct NumberBf16 {
  static constexpr int64_t kBytes = 2;
  static typename L::V load(const std::byte* p) { return L::load_bf16(p); }
};

/// c[r][16g..] = c[r][16g..] * decay[r] (0 if decay is null), then fma(a[r][k], b[k][g], c), k ascending.
struct TileArgs {
  const float* a = nullptr;  ///< [rows][a_step]
  int64_t a_step = 0;
  const std::byte* b = nullptr;
  int64_t b_step = 0;   ///< bytes from k to k + 1
  int64_t b_group = 0;  ///< bytes from one group of 16 lanes to the next
  int64_t count = 0;    ///< of k
  float* c = nullptr;   ///< [rows][c_step]
  int64_t c_step = 0;
  const float* decay = nullptr;
  /// What is read a chunk later, asked for at the speed at which b is read; null: nothing.
  const std::byte* next = nullptr;
};

constexpr int64_t kLine = 64;

/// Asks for a line that is read a chunk later: into the second-level cache, since the first one is in use until then.
void prefetch_line(const std::byte* line) {
  __builtin_prefetch(line, 0, 2);
}

template <typename L, typename Number, int kRows, int kGroups>
void multiply_tile(const TileArgs& args) {
  using V = typename L::V;
  V sums[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      sums[r][g] =
          args.decay == nullptr ? L::zero() : L::mul(L::load(args.c + r * args.c_step + 16 * g), L::all(args.decay[r]));
    }
  }
  const float* a = args.a;
  const std::byte* b = args.b;
  const int64_t a_step = args.a_step;
  const int64_t b_step = args.b_step;
  const int64_t b_group = args.b_group;
  // Bytes of b for one k are 16 * kGroups * kBytes: this many lines.
  constexpr int64_t kLines = kGroups * Number::kBytes / 4;
  const std::byte* next = args.next;
  for (int64_t k = args.count; k > 0; --k, ++a, b += b_step) {
    if (kLines > 0 && next != nullptr) {
#pragma GCC unroll 4
      for (int64_t i = 0; i < kLines; ++i) prefetch_line(next + i * kLine);
      next += kLines * kLine;
    }
    V lanes[kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) lanes[g] = Number::load(b + g * b_group);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V factor = L::all(a[r * a_step]);
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) sums[r][g] = L::fma(factor, lanes[g], sums[r][g]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) L::store(args.c + r * args.c_step + 16 * g, sums[r][g]);
  }
}

using TileFunction = void (*)(const TileArgs& args);

/// Tiles of 1..8 rows for one number of groups; rows that do not fit the registers are null.
template <typename L, typename Number, int kGroups>
struct TileRow {
  template <int kRows>
  static constexpr TileFunction pick() {
    if constexpr (kGroups <= L::groups(kRows)) {
      return multiply_tile<L, Number, kRows, kGroups>;
    } else {
      return nullptr;
    }
  }
  static constexpr TileFunction kFunctions[kBlockRows] = {pick<1>(), pick<2>(), pick<3>(), pick<4>(),
                                                          pick<5>(), pick<6>(), pick<7>(), pick<8>()};
};

/// The product over `groups` groups of lanes, in the widest tiles that fit the registers.
template <typename L, typename Number>
void multiply_groups(TileArgs args, int rows, int64_t groups) {
  const int widest = L::groups(rows);
  while (groups > 0) {
    int width = 1;
    TileFunction tile = TileRow<L, Number, 1>::kFunctions[rows - 1];
    if (groups >= 4 && widest >= 4) {
      width = 4;
      tile = TileRow<L, Number, 4>::kFunctions[rows - 1];
    } else if (groups >= 2 && widest >= 2) {
      width = 2;
      tile = TileRow<L, Number, 2>::kFunctions[rows - 1];
    }
    tile(args);
    args.b += width * args.b_group;
    args.c += 16 * width;
    if (args.next != nullptr) args.next += args.count * width * 16 * Number::kBytes;
    groups -= width;
  }
}

}  // namespace
}  // namespace lamina::kernels::cpu

#pragma once

#include <string_view>

#include "kernels/columns.h"

/// ref/columns.cpp on 16 outputs at a time. Sums stay in the first-level cache; some columns are added at once, so that
/// sums are read and written less often. L is a Lanes struct.
namespace lamina::kernels::cpu {
namespace {

template <typename L>
struct Floats32 {
  static constexpr int64_t kBytes = 4;
  static typename L::V load(const std::byte* p) { return L::load(reinterpret_cast<const float*>(p)); }
};
template <typename L>
struct Floats16 {
  static constexpr int64_t kBytes = 2;
  static typename L::V load(const std::byte* p) { return L::load_f16(p); }
};
template <typename L>
struct Brains16 {
  static constexpr int64_t kBytes = 2;
  static typename L::V load(const std::byte* p) { return L::load_bf16(p); }
};
template <typename L>
struct Bytes {
  static constexpr int64_t kBytes = 1;
  static typename L::V load(const std::byte* p) { return L::load_int8(p); }
};

/// Columns of one strip and their inputs.
template <int kCount>
struct Columns {
  const std::byte* scales = nullptr;
  const std::byte* data[kCount] = {};
  float x[kCount] = {};
};

template <typename L, typename Numbers, bool kScaled, int kCount>
inline void add_columns(const ColumnArgs& args, const Columns<kCount>& columns) {
  typename L::V x[kCount];
  for (int i = 0; i < kCount; ++i) x[i] = L::all(columns.x[i]);
  for (int64_t o = args.begin; o < args.end; o += 16) {
    auto y = L::load(args.y + o);
    auto scale = L::zero();
    if constexpr (kScaled) scale = L::load_f16(columns.scales + 2 * o);
    for (int i = 0; i < kCount; ++i) {
      auto w = Numbers::load(columns.data[i] + Numbers::kBytes * o);
      if constexpr (kScaled) w = L::mul(w, scale);
      y = L::fma(w, x[i], y);
    }
    L::store(args.y + o, y);
  }
}

/// The kCount inputs from `active` on, which lie in one strip.
template <typename L, typename Numbers, bool kScaled, int kCount>
inline void add_inputs(const ColumnArgs& args, const int32_t* active) {
  const ColumnLayout& layout = *args.layout;
  Columns<kCount> columns;
  columns.scales = args.packed + layout.strip_of(active[0]);
  for (int i = 0; i < kCount; ++i) {
    columns.data[i] = args.packed + layout.column_of(active[i]);
    columns.x[i] = args.x[active[i]];
  }
  add_columns<L, Numbers, kScaled, kCount>(args, columns);
}

template <typename L, typename Numbers, bool kScaled>
void run_columns(const ColumnArgs& args) {
  for (int64_t o = args.begin; o < args.end; o += 16) L::store(args.y + o, L::zero());
  const int64_t strip = args.layout->strip;
  const auto count = static_cast<int64_t>(args.active.size());
  const int32_t* active = args.active.data();
  int64_t done = 0;
  const auto together = [&](int64_t some) {
    return done + some <= count && (!kScaled || active[done] / strip == active[done + some - 1] / strip);
  };
  while (done < count) {
    if (together(8)) {
      add_inputs<L, Numbers, kScaled, 8>(args, active + done);
      done += 8;
    } else if (together(4)) {
      add_inputs<L, Numbers, kScaled, 4>(args, active + done);
      done += 4;
    } else {
      add_inputs<L, Numbers, kScaled, 1>(args, active + done);
      done += 1;
    }
  }
}

template <typename L, typename Numbers, bool kScaled>
void widen_piece(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out) {
  for (int64_t i = 0; i < piece.inputs; ++i) {
    const int64_t input = piece.input + i;
    auto w = Numbers::load(packed + layout.column_of(input) + Numbers::kBytes * piece.output);
    if constexpr (kScaled) w = L::mul(w, L::load_f16(packed + layout.strip_of(input) + 2 * piece.output));
    L::store(out + 16 * i, w);
  }
}

template <typename L>
void column_rows(const ColumnArgs& args) {
  const std::string_view name = args.layout->codec->format.name;
  if (name == "f32") return run_columns<L, Floats32<L>, false>(args);
  if (name == "f16") return run_columns<L, Floats16<L>, false>(args);
  if (name == "bf16") return run_columns<L, Brains16<L>, false>(args);
  run_columns<L, Bytes<L>, true>(args);
}

template <typename L>
void widen_rows(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out) {
  const std::string_view name = layout.codec->format.name;
  if (name == "f32") return widen_piece<L, Floats32<L>, false>(layout, packed, piece, out);
  if (name == "f16") return widen_piece<L, Floats16<L>, false>(layout, packed, piece, out);
  if (name == "bf16") return widen_piece<L, Brains16<L>, false>(layout, packed, piece, out);
  widen_piece<L, Bytes<L>, true>(layout, packed, piece, out);
}

template <typename L>
constexpr ColumnVariant column_variant(core::Isa isa) {
  return {isa, column_rows<L>, widen_rows<L>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

#pragma once

#include <utility>

#include "kernels/peak.h"

/// The loops of peak.h over an instruction set's registers. `Unit` has Float, Integer, kChains, and the static
/// functions splat, fma, splat_int8, dot (sums + products of bytes), load and add.
namespace lamina::kernels::cpu {
namespace {

/// The value, which the compiler may neither guess nor leave out.
template <typename Register>
inline Register kept(Register value) {
  asm volatile("" : "+v"(value));
  return value;
}

/// Applies `step` to each sum; the indices are constants, so that every sum stays in a register of its own.
template <size_t... k, typename Register, typename Step>
inline void each(std::index_sequence<k...>, Register* sums, Step step) {
  ((sums[k] = kept(step(sums[k]))), ...);
}

template <typename Unit>
int64_t peak_float(int64_t rounds) {
  using Float = typename Unit::Float;
  constexpr std::make_index_sequence<Unit::kChains> kAll;
  Float sums[Unit::kChains];
  const Float a = kept(Unit::splat(0.5F));
  const Float b = kept(Unit::splat(1.0F));
  each(kAll, sums, [](Float) { return Unit::splat(0.0F); });
  for (int64_t i = 0; i < rounds; ++i) {
    each(kAll, sums, [&](Float sum) { return Unit::fma(sum, a, b); });
  }
  return rounds * Unit::kChains * static_cast<int64_t>(sizeof(Float) / 4) * 2;
}

template <typename Unit>
int64_t peak_int8(int64_t rounds) {
  using Integer = typename Unit::Integer;
  constexpr std::make_index_sequence<Unit::kChains> kAll;
  Integer sums[Unit::kChains];
  const Integer a = kept(Unit::splat_int8(1));
  Integer b = Unit::splat_int8(2);
  each(kAll, sums, [](Integer) { return Unit::splat_int8(0); });
  for (int64_t i = 0; i < rounds; ++i) {
    each(kAll, sums, [&](Integer sum) {
      b = kept(b);
      return Unit::dot(sum, a, b);
    });
  }
  return rounds * Unit::kChains * static_cast<int64_t>(sizeof(Integer)) * 2;
}

template <typename Unit>
int64_t peak_bf16(int64_t rounds) {
  using Float = typename Unit::Float;
  constexpr std::make_index_sequence<Unit::kChains> kAll;
  Float sums[Unit::kChains];
  const auto a = Unit::splat_bf16();
  auto b = Unit::splat_bf16();
  each(kAll, sums, [](Float) { return Unit::splat(0.0F); });
  for (int64_t i = 0; i < rounds; ++i) {
    each(kAll, sums, [&](Float sum) {
      b = kept(b);
      return Unit::dot_bf16(sum, a, b);
    });
  }
  return rounds * Unit::kChains * static_cast<int64_t>(sizeof(Float) / 2) * 2;
}

template <typename Unit>
uint64_t peak_read(const std::byte* data, size_t bytes) {
  constexpr size_t kStep = sizeof(typename Unit::Integer);
  constexpr size_t kLoads = 512 / kStep;
  typename Unit::Integer sums[kLoads];
  for (auto& sum : sums) sum = Unit::splat_int8(0);
  for (size_t i = 0; i < bytes; i += 512) {
#pragma GCC unroll 32
    for (size_t k = 0; k < kLoads; ++k) sums[k] = Unit::add(sums[k], Unit::load(data + i + k * kStep));
  }
  uint64_t words[512 / 8];
  __builtin_memcpy(words, sums, sizeof words);
  uint64_t total = 0;
  for (const uint64_t word : words) total += word;
  return total;
}

template <typename Unit>
constexpr PeakVariant peak_row(core::Isa isa) {
  return {.isa = isa, .multiply_float = peak_float<Unit>, .multiply_int8 = peak_int8<Unit>, .read = peak_read<Unit>};
}

}  // namespace
}  // namespace lamina::kernels::cpu

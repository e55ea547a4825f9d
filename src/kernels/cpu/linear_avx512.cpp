#include <immintrin.h>

#include <array>

#include "kernels/cpu/linear_float_body.h"
#include "kernels/cpu/linear_pair_body.h"
#include "kernels/linear_isa.h"

namespace lamina::kernels {

namespace {

struct Lanes512 {
  using Vector = __m512;
  static constexpr int kParts = 1;
  static constexpr int64_t kTilePanels = 4;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
  static Vector broadcast(const std::byte* from) {
    float value;
    std::memcpy(&value, from, sizeof(value));
    return _mm512_set1_ps(value);
  }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector load_f16(const std::byte* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Vector load_bf16(const std::byte* from) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
};

/// A pair as two multiply-adds, with the bits of the instruction that this machine may lack.
struct PairLanes {
  using Vector = __m512;
  struct Weight {
    __m512 odd;
    __m512 even;
  };
  using Input = Weight;
  static constexpr int kParts = 1;
  static constexpr int64_t kTilePanels = 2;
  static constexpr int64_t kTileRows = 6;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
  static Weight split(__m512i pairs) {
    return {_mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000U)))),
            _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
  }
  static Weight weight(const std::byte* from) { return split(_mm512_loadu_si512(from)); }
  static Input input(const std::byte* from) { return split(_mm512_set1_epi32(load_as<int32_t>(from))); }
  static Vector dot(Vector y, Weight w, Input x) {
    return _mm512_fmadd_ps(w.even, x.even, _mm512_fmadd_ps(w.odd, x.odd, y));
  }
};

constexpr std::array kRows{
    decoded_row<Lanes512>(core::Isa::kAvx512),
    float_row<Lanes512, F32>("f32", core::Isa::kAvx512),
    float_row<Lanes512, F16>("f16", core::Isa::kAvx512),
    float_row<Lanes512, Bf16>("bf16", core::Isa::kAvx512),
    pair_row<PairLanes>(core::Isa::kAvx512),
    column_row<Lanes512>("f32", core::Isa::kAvx512),
    column_row<Lanes512>("f16", core::Isa::kAvx512),
    column_row<Lanes512>("bf16", core::Isa::kAvx512),
    column_row<Lanes512>("q8_0", core::Isa::kAvx512),
};

}  // namespace

std::span<const LinearVariant> linear_avx512() {
  return kRows;
}

}  // namespace lamina::kernels

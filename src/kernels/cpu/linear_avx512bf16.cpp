#include <immintrin.h>

#include <array>

#include "kernels/cpu/linear_pair_body.h"
#include "kernels/linear_isa.h"

namespace lamina::kernels {

namespace {

/// The processor's instruction adds the odd products, then the even ones, and flushes denormals in any mode.
struct PairLanes {
  using Vector = __m512;
  using Weight = __m512bh;
  using Input = __m512bh;
  static constexpr int kParts = 1;
  static constexpr int64_t kTilePanels = 4;
  static constexpr int64_t kTileRows = 6;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
  static Weight weight(const std::byte* from) { return reinterpret_cast<Weight>(_mm512_loadu_si512(from)); }
  static Input input(const std::byte* from) {
    return reinterpret_cast<Input>(_mm512_set1_epi32(load_as<int32_t>(from)));
  }
  static Vector dot(Vector y, Weight w, Input x) { return _mm512_dpbf16_ps(y, w, x); }
};

constexpr std::array kRows{pair_row<PairLanes>(core::Isa::kAvx512Bf16)};

}  // namespace

bool bf16_dot_keeps_order() {
  uint32_t state = 1;
  for (int round = 0; round < 64; ++round) {
    alignas(64) uint32_t w[16];
    alignas(64) uint32_t x[16];
    for (int i = 0; i < 16; ++i) {  // signs and fractions of any kind, exponents near 1
      const auto next = [&state] { return (state = state * 1664525U + 1013904223U) >> 8; };
      w[i] = ((next() << 8 | next()) & 0x83ff83ffU) | 0x3c003c00U;
      x[i] = ((next() << 8 | next()) & 0x83ff83ffU) | 0x3c003c00U;
    }
    const __m512i weight = _mm512_load_si512(w);
    const __m512i input = _mm512_load_si512(x);
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
    const auto odd = [high](__m512i pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, high)); };
    const auto even = [](__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); };
    const __m512 start = _mm512_mul_ps(odd(weight), _mm512_set1_ps(1.1F));
    const __m512 wanted = _mm512_fmadd_ps(even(weight), even(input), _mm512_fmadd_ps(odd(weight), odd(input), start));
    const __m512 got = PairLanes::dot(start, reinterpret_cast<__m512bh>(weight), reinterpret_cast<__m512bh>(input));
    if (_mm512_cmpneq_epi32_mask(_mm512_castps_si512(got), _mm512_castps_si512(wanted)) != 0) return false;
  }
  return true;
}

std::span<const LinearVariant> linear_avx512bf16() {
  return kRows;
}

}  // namespace lamina::kernels

#pragma once

// GCC 12's own header starts some intrinsics from a register it leaves undefined on purpose (GCC bug 105593).
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <cstdint>
#include <cstring>

/// Sixteen float32 lanes as the kernel bodies use them. The unnamed namespace keeps each file's copy to itself, so that
/// code made for one instruction set is never linked into the path of another.
namespace lamina::kernels::cpu {
namespace {

struct Avx512Lanes {
  using V = __m512;
  using Mask = __mmask16;
  /// Rows that a product tile takes at most, and groups of 16 lanes that one of so many rows keeps in registers.
  static constexpr int kMostRows = 8;
  static constexpr int groups(int rows) { return rows <= 6 ? 4 : 2; }

  static Mask first(int64_t n) { return static_cast<Mask>((1U << n) - 1U); }

  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static V load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, V v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
  static V all(float x) { return _mm512_set1_ps(x); }
  static V zero() { return _mm512_setzero_ps(); }

  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  /// c - a * b
  static V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
  /// a < b ? b : a
  static V max(V a, V b) { return _mm512_max_ps(b, a); }
  /// a < b ? a : b
  static V min(V a, V b) { return _mm512_min_ps(a, b); }

  static Mask less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Mask not_less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  /// v, or 0 outside the mask.
  static V keep(Mask m, V v) { return _mm512_maskz_mov_ps(m, v); }
  static V select(Mask m, V yes, V no) { return _mm512_mask_blend_ps(m, no, yes); }
  static uint32_t equal_bits(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  /// Lanes begin <= i < end.
  static Mask between(int64_t begin, int64_t end) {
    const auto below = [](int64_t n) { return n <= 0 ? 0U : n >= 16 ? 0xffffU : (1U << n) - 1U; };
    return static_cast<Mask>(below(end) & ~below(begin));
  }
  static V abs(V v) { return _mm512_abs_ps(v); }
  static V copy_sign(V magnitude, V sign) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(magnitude), _mm512_castps_si512(sign),
                                                         _mm512_set1_epi32(INT32_MIN), 0xd8));
  }
  /// 2^n from the float that holds n in its low bits.
  static V power(V t) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(0x3f800000)));
  }

  static float fold(V v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float top(V v) {
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }

  static V load_f16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static V load_bf16(const std::byte* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static V load_int8(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void to_f16(V v, uint16_t* out) {
    const __m256i half = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), half);
  }

  static void to_bf16(V v, uint16_t* out) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i top = _mm512_srli_epi32(bits, 16);
    const __m512i even = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), even);
    const __m512i quiet = _mm512_or_si512(top, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i result = _mm512_mask_blend_epi32(nan, _mm512_srli_epi32(sum, 16), quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(result));
  }

  /// Sixteen lanes of int32, or of four bytes or two int16 each.
  using I = __m512i;
  /// Rows, and groups of 16 lanes for so many rows, that an integer product tile keeps in registers.
  static constexpr int kByteRows = 8;
  static constexpr int byte_groups(int rows) { return rows <= 3 ? 4 : 2; }

  static I no_sum() { return _mm512_setzero_si512(); }
  static I load_bytes(const std::byte* p) { return _mm512_loadu_si512(p); }
  /// Bytes 0 and 2 of each lane as two int16, and bytes 1 and 3.
  static I even_bytes(I b) { return _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8); }
  static I odd_bytes(I b) { return _mm512_srai_epi16(b, 8); }
  /// Byte n of each lane as int32.
  static I byte_of_lane(I b, int n) {
    return _mm512_srai_epi32(_mm512_sll_epi32(b, _mm_cvtsi32_si128(24 - 8 * n)), 24);
  }
  /// Two int16 in every lane.
  static I all_pairs(const int16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof(pair));
    return _mm512_set1_epi32(pair);
  }
  static I dot(I sums, I a, I b) { return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b)); }
  static V to_float(I v) { return _mm512_cvtepi32_ps(v); }
  /// Rounds to nearest even.
  static void to_int16(V v, int16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
  }

  /// rows[i] becomes lane i of all rows.
  static void transpose(V (&rows)[16]) {
    V pairs[16];
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // Four rows: quads[i + j] has lane j of each quarter.
    V quads[16];
    for (int i = 0; i < 16; i += 4) {
      quads[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
      quads[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int j = 0; j < 4; ++j) {
      const V even_low = _mm512_shuffle_f32x4(quads[j], quads[j + 4], 0x88);
      const V odd_low = _mm512_shuffle_f32x4(quads[j], quads[j + 4], 0xdd);
      const V even_high = _mm512_shuffle_f32x4(quads[j + 8], quads[j + 12], 0x88);
      const V odd_high = _mm512_shuffle_f32x4(quads[j + 8], quads[j + 12], 0xdd);
      rows[j] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
      rows[j + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
      rows[j + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
      rows[j + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
  }

  /// Even and odd numbers of the 32 in a then b, and back.
  static V even(V a, V b) { return _mm512_permutex2var_ps(a, steps(0, 2), b); }
  static V odd(V a, V b) { return _mm512_permutex2var_ps(a, steps(1, 2), b); }
  static V zip_low(V a, V b) { return _mm512_permutex2var_ps(a, zip(0), b); }
  static V zip_high(V a, V b) { return _mm512_permutex2var_ps(a, zip(8), b); }

 private:
  static __m512i steps(int first, int step) {
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_add_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(step)), _mm512_set1_epi32(first));
  }
  static __m512i zip(int first) {
    const __m512i lanes = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
  }
};

}  // namespace
}  // namespace lamina::kernels::cpu

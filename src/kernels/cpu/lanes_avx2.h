#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

/// Sixteen float32 lanes in two registers; see lanes_avx512.h, which this repeats operation by operation.
namespace lamina::kernels::cpu {
namespace {

struct Avx2Lanes {
  struct V {
    __m256 low;
    __m256 high;
  };
  using Mask = V;
  /// Rows that a product tile takes at most, and groups of 16 lanes that one of so many rows keeps in registers.
  static constexpr int kMostRows = 6;
  static constexpr int groups(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : rows <= 6 ? 1 : 0; }

  static V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static V load(const float* p, int64_t n) {
    return {_mm256_maskload_ps(p, first(n)), n > 8 ? _mm256_maskload_ps(p + 8, first(n - 8)) : _mm256_setzero_ps()};
  }
  static void store(float* p, V v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
  }
  static void store(float* p, V v, int64_t n) {
    _mm256_maskstore_ps(p, first(n), v.low);
    if (n > 8) _mm256_maskstore_ps(p + 8, first(n - 8), v.high);
  }
  static V all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

  static V add(V a, V b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static V sub(V a, V b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static V mul(V a, V b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static V div(V a, V b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static V fma(V a, V b, V c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  /// c - a * b
  static V fnma(V a, V b, V c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
  }
  /// a < b ? b : a
  static V max(V a, V b) { return {_mm256_max_ps(b.low, a.low), _mm256_max_ps(b.high, a.high)}; }
  /// a < b ? a : b
  static V min(V a, V b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }

  static Mask less(V a, V b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
  }
  static Mask not_less(V a, V b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_NLT_UQ), _mm256_cmp_ps(a.high, b.high, _CMP_NLT_UQ)};
  }
  /// v, or 0 outside the mask.
  static V keep(Mask m, V v) { return {_mm256_and_ps(m.low, v.low), _mm256_and_ps(m.high, v.high)}; }
  static V select(Mask m, V yes, V no) {
    return {_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
  }
  static uint32_t equal_bits(V a, V b) {
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
    return static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 8;
  }
  /// Lanes begin <= i < end.
  static Mask between(int64_t begin, int64_t end) {
    const __m256i low = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return {inside(low, begin, end), inside(_mm256_add_epi32(low, _mm256_set1_epi32(8)), begin, end)};
  }
  static V abs(V v) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_andnot_ps(sign, v.low), _mm256_andnot_ps(sign, v.high)};
  }
  static V copy_sign(V magnitude, V sign) {
    const __m256 bit = _mm256_set1_ps(-0.0F);
    return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.low), _mm256_and_ps(bit, sign.low)),
            _mm256_or_ps(_mm256_andnot_ps(bit, magnitude.high), _mm256_and_ps(bit, sign.high))};
  }
  /// 2^n from the float that holds n in its low bits.
  static V power(V t) { return {power8(t.low), power8(t.high)}; }

  static float fold(V v) {
    const __m256 a = _mm256_add_ps(v.low, v.high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float top(V v) {
    const __m256 a = _mm256_max_ps(v.low, v.high);
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }

  static V load_f16(const std::byte* p) {
    const auto* half = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1))};
  }
  static V load_bf16(const std::byte* p) {
    const auto* half = reinterpret_cast<const __m128i*>(p);
    return {widen(_mm_loadu_si128(half)), widen(_mm_loadu_si128(half + 1))};
  }
  static V load_int8(const std::byte* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
  }
  static void to_f16(V v, uint16_t* out) {
    auto* half = reinterpret_cast<__m128i*>(out);
    _mm_storeu_si128(half, _mm256_cvtps_ph(v.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128(half + 1, _mm256_cvtps_ph(v.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  static void to_bf16(V v, uint16_t* out) {
    // Pack works on halves of registers: 0-3, 8-11, 4-7, 12-15 come out, put right by the permutation.
    const __m256i packed = _mm256_packus_epi32(narrow8(v.low), narrow8(v.high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(packed, 0xd8));
  }

  /// Sixteen lanes of int32, or of four bytes or two int16 each.
  struct I {
    __m256i low;
    __m256i high;
  };
  /// Rows, and groups of 16 lanes for so many rows, that an integer product tile keeps in registers.
  static constexpr int kByteRows = 3;
  static constexpr int byte_groups(int rows) { return rows == 1 ? 2 : 1; }

  static I no_sum() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static I load_bytes(const std::byte* p) {
    const auto* half = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)};
  }
  /// Bytes 0 and 2 of each lane as two int16, and bytes 1 and 3.
  static I even_bytes(I b) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(b.low, 8), 8), _mm256_srai_epi16(_mm256_slli_epi16(b.high, 8), 8)};
  }
  static I odd_bytes(I b) { return {_mm256_srai_epi16(b.low, 8), _mm256_srai_epi16(b.high, 8)}; }
  /// Byte n of each lane as int32.
  static I byte_of_lane(I b, int n) {
    const __m128i shift = _mm_cvtsi32_si128(24 - 8 * n);
    return {_mm256_srai_epi32(_mm256_sll_epi32(b.low, shift), 24),
            _mm256_srai_epi32(_mm256_sll_epi32(b.high, shift), 24)};
  }
  /// Two int16 in every lane.
  static I all_pairs(const int16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof(pair));
    return {_mm256_set1_epi32(pair), _mm256_set1_epi32(pair)};
  }
  static I dot(I sums, I a, I b) {
    return {_mm256_add_epi32(sums.low, _mm256_madd_epi16(a.low, b.low)),
            _mm256_add_epi32(sums.high, _mm256_madd_epi16(a.high, b.high))};
  }
  static V to_float(I v) { return {_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high)}; }
  /// Rounds to nearest even.
  static void to_int16(V v, int16_t* out) {
    // Pack works on halves of registers: put right by the permutation.
    const __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(packed, 0xd8));
  }

  /// rows[i] becomes lane i of all rows.
  static void transpose(V (&rows)[16]) {
    for (int i = 0; i < 16; i += 8) transpose8(rows + i);
    // The quarters beside the diagonal change places.
    for (int i = 0; i < 8; ++i) {
      const __m256 high = rows[i].high;
      rows[i].high = rows[i + 8].low;
      rows[i + 8].low = high;
    }
  }

  /// Even and odd numbers of the 32 in a then b, and back.
  static V even(V a, V b) { return {pick(a.low, a.high, 0x88), pick(b.low, b.high, 0x88)}; }
  static V odd(V a, V b) { return {pick(a.low, a.high, 0xdd), pick(b.low, b.high, 0xdd)}; }
  static V zip_low(V a, V b) { return zip8(a.low, b.low); }
  static V zip_high(V a, V b) { return zip8(a.high, b.high); }

 private:
  /// Both halves of eight rows, each in place.
  static void transpose8(V* rows) {
    __m256 low[8];
    __m256 high[8];
    for (int i = 0; i < 8; ++i) {
      low[i] = rows[i].low;
      high[i] = rows[i].high;
    }
    transpose8(low);
    transpose8(high);
    for (int i = 0; i < 8; ++i) rows[i] = {low[i], high[i]};
  }
  static void transpose8(__m256* rows) {
    __m256 pairs[8];
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    __m256 quads[8];
    for (int i = 0; i < 8; i += 4) {
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      rows[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
      rows[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
  }
  static __m256i first(int64_t n) {
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
  }
  static __m256 inside(__m256i lanes, int64_t begin, int64_t end) {
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(end)), lanes);
    const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(begin)), lanes);
    return _mm256_castsi256_ps(_mm256_andnot_si256(before, below));
  }
  static __m256 power8(__m256 t) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000)));
  }
  static __m256 widen(__m128i half) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16)); }
  static __m256i narrow8(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i top = _mm256_srli_epi32(bits, 16);
    const __m256i even = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), even);
    const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, nan);
  }
  static __m256 pick(__m256 a, __m256 b, int odd) {
    const __m256 mixed = odd == 0x88 ? _mm256_shuffle_ps(a, b, 0x88) : _mm256_shuffle_ps(a, b, 0xdd);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
  }
  static V zip8(__m256 a, __m256 b) {
    const __m256 low = _mm256_unpacklo_ps(a, b);
    const __m256 high = _mm256_unpackhi_ps(a, b);
    return {_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
  }
};

}  // namespace
}  // namespace lamina::kernels::cpu

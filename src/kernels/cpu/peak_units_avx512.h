#pragma once

#include <immintrin.h>

#include "kernels/cpu/peak_body.h"

namespace lamina::kernels::cpu {
namespace {

struct Avx512VnniUnit {
  using Float = __m512;
  using Integer = __m512i;
  static constexpr int kChains = 16;

  static Float splat(float value) { return _mm512_set1_ps(value); }
  static Float fma(Float sum, Float a, Float b) { return _mm512_fmadd_ps(sum, a, b); }
  static Integer splat_int8(char value) { return _mm512_set1_epi8(value); }
  static Integer dot(Integer sum, Integer a, Integer b) { return _mm512_dpbusd_epi32(sum, a, b); }
  static Integer load(const std::byte* data) { return _mm512_load_si512(data); }
  static Integer add(Integer a, Integer b) { return _mm512_add_epi64(a, b); }
};

}  // namespace
}  // namespace lamina::kernels::cpu

#include "kernels/cpu/linear_block_avx2.h"
#include "kernels/cpu/linear_float_body.h"
#include "kernels/cpu/linear_pair_body.h"
#include "kernels/linear_isa.h"

namespace lamina::kernels {

namespace {

struct Lanes256 {
  using Vector = __m256;
  static constexpr int kParts = 2;
  static constexpr int64_t kTilePanels = 1;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm256_storeu_ps(to, v); }
  static Vector broadcast(const std::byte* from) { return _mm256_broadcast_ss(reinterpret_cast<const float*>(from)); }
  static Vector fma(Vector w, Vector x, Vector y) { return _mm256_fmadd_ps(w, x, y); }
  static Vector load_f16(const std::byte* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Vector load_bf16(const std::byte* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};

/// A pair as two multiply-adds, with the bits of the AVX-512 BF16 instruction.
struct PairLanes {
  using Vector = __m256;
  struct Weight {
    __m256 odd;
    __m256 even;
  };
  using Input = Weight;
  static constexpr int kParts = 2;
  static constexpr int64_t kTilePanels = 1;
  static constexpr int64_t kTileRows = 4;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm256_storeu_ps(to, v); }
  static Weight split(__m256i pairs) {
    return {_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000U)))),
            _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))};
  }
  static Weight weight(const std::byte* from) { return split(kernels::load(from)); }
  static Input input(const std::byte* from) { return split(kernels::broadcast(from)); }
  static Vector dot(Vector y, Weight w, Input x) {
    return _mm256_fmadd_ps(w.even, x.even, _mm256_fmadd_ps(w.odd, x.odd, y));
  }
};

constexpr std::array kRows{
    decoded_row<Lanes256>(core::Isa::kAvx2),
    float_row<Lanes256, F32>("f32", core::Isa::kAvx2),
    float_row<Lanes256, F16>("f16", core::Isa::kAvx2),
    float_row<Lanes256, Bf16>("bf16", core::Isa::kAvx2),
    pair_row<PairLanes>(core::Isa::kAvx2),
    column_row<Lanes256>("f32", core::Isa::kAvx2),
    column_row<Lanes256>("f16", core::Isa::kAvx2),
    column_row<Lanes256>("bf16", core::Isa::kAvx2),
    column_row<Lanes256>("q8_0", core::Isa::kAvx2),
};

}  // namespace

std::span<const LinearVariant> linear_avx2() {
  return kRows;
}

std::span<const LinearVariant> linear_block_avx2() {
  return kBlockRows;
}

}  // namespace lamina::kernels

#include <immintrin.h>

#include <array>

#include "kernels/cpu/linear_float_body.h"
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

constexpr int64_t kBlocks = kChunk / 32;

__m256i load(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
void store(std::byte* to, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}
__m256i broadcast(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof(value));
  return _mm256_set1_epi32(value);
}

/// Unpacked bytes of 32 inputs: [8 groups][16 outputs][4], that is two registers a group.
void unpack_nibbles(const std::byte* low, std::byte* out) {
  const __m256i mask = _mm256_set1_epi8(15);
  for (int64_t j = 0; j < 8; ++j) {
    const __m256i both = load(low + 32 * j);
    store(out + 32 * j, _mm256_and_si256(both, mask));
    store(out + 32 * j + 256, _mm256_and_si256(_mm256_srli_epi16(both, 4), mask));
  }
}

/// Adds 16 where the plane has a bit; one bit per byte of `out`.
void unpack_fifth_bits(const std::byte* high, std::byte* out) {
  const __m256i spread =
      _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ULL));
  const __m256i sixteen = _mm256_set1_epi8(16);
  for (int64_t j = 0; j < 16; ++j) {
    const __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(broadcast(high + 4 * j), spread), bit);
    const __m256i set = _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit), sixteen);
    store(out + 32 * j, _mm256_or_si256(load(out + 32 * j), set));
  }
}

/// kSafe: groups whose products can be added in 16 bits; 0 means signed bytes, whose signs move to the activations.
struct Bytes8 {
  static constexpr bool kMinimum = false;
  static constexpr int kSafe = 0;
  static void unpack(const std::byte* low, const std::byte* /*high*/, std::byte* out) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    for (int64_t j = 0; j < 16; ++j) store(out + 32 * j, _mm256_xor_si256(load(low + 32 * j), flip));
  }
};
struct Nibbles {
  static constexpr int kSafe = 8;
  static constexpr int kShift = 4;
  static void unpack(const std::byte* low, const std::byte* /*high*/, std::byte* out) { unpack_nibbles(low, out); }
};
struct Fives {
  static constexpr int kSafe = 4;
  static constexpr int kShift = 3;
  static void unpack(const std::byte* low, const std::byte* high, std::byte* out) {
    unpack_nibbles(low, out);
    unpack_fifth_bits(high, out);
  }
};
template <class Base, bool kWithMinimum>
struct With : Base {
  static constexpr bool kMinimum = kWithMinimum;
};

constexpr int64_t kScales = kChunk * kPanel;
constexpr int64_t kMinimums = kScales + kBlocks * kPanel * 4;
constexpr int64_t kUnpacked = kMinimums + kBlocks * kPanel * 4;

/// The exact dot products of 32 inputs: `kRows` rows with 8 outputs.
template <class Codec, int kRows>
void block_dots(const std::byte* w, const std::byte* x, int64_t stride, __m256i (&sums)[kRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (Codec::kSafe == 0) {
    for (int g = 0; g < 8; ++g) {
      const __m256i weight = load(w + 64 * g);
      const __m256i size = _mm256_abs_epi8(weight);
      for (int r = 0; r < kRows; ++r) {
        const __m256i a = _mm256_sign_epi8(broadcast(x + r * stride + 4 * g), weight);
        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(_mm256_maddubs_epi16(size, a), ones));
      }
    }
  } else {
    for (int part = 0; part < 8; part += Codec::kSafe) {
      __m256i narrow[kRows];
      for (int r = 0; r < kRows; ++r) narrow[r] = _mm256_setzero_si256();
#pragma GCC unroll 1  // unrolled, GCC 12 turns the additions into trees and spills
      for (int g = part; g < part + Codec::kSafe; ++g) {
        const __m256i weight = load(w + 64 * g);
        for (int r = 0; r < kRows; ++r) {
          narrow[r] = _mm256_add_epi16(narrow[r], _mm256_maddubs_epi16(weight, broadcast(x + r * stride + 4 * g)));
        }
      }
      for (int r = 0; r < kRows; ++r) sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(narrow[r], ones));
    }
  }
}

/// `half`: outputs 0..7 or 8..15 of the panel.
template <class Codec, int kRows>
void block_tile(const Tile& tile, int half) {
  const BlockRow row = BlockRow::of(tile.inputs);
  const int64_t stride = tile.activation_bytes;
  float* sums = tile.sums + 8 * half;
  __m256 y[kRows];
  for (int r = 0; r < kRows; ++r) y[r] = tile.begin == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(sums + 16 * r);
  for (int64_t b = 0; b < tile.length / 32; ++b) {
    const int64_t at = tile.begin / 32 + b;
    const std::byte* scale = tile.activations + row.scale + 4 * at;
    __m256i s[kRows];
    for (int r = 0; r < kRows; ++r) {
      s[r] = _mm256_setzero_si256();
      if constexpr (!Codec::kMinimum && Codec::kSafe != 0) {
        s[r] = _mm256_srai_epi32(broadcast(scale + (row.bias - row.scale) + r * stride), Codec::kShift);
      }
    }
    block_dots<Codec, kRows>(tile.weights + 512 * b + 32 * half, tile.activations + 32 * at, stride, s);
    const int64_t lane = 64 * b + 32 * half;
    const __m256 d = _mm256_loadu_ps(reinterpret_cast<const float*>(tile.weights + kScales + lane));
    for (int r = 0; r < kRows; ++r) {
      __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(s[r]), d);
      if constexpr (Codec::kMinimum) {
        const __m256 m = _mm256_loadu_ps(reinterpret_cast<const float*>(tile.weights + kMinimums + lane));
        product = _mm256_fmadd_ps(Lanes256::broadcast(scale + (row.sum - row.scale) + r * stride), m, product);
      }
      y[r] = _mm256_fmadd_ps(product, Lanes256::broadcast(scale + r * stride), y[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) _mm256_storeu_ps(sums + 16 * r, y[r]);
}

template <class Codec>
struct BlockKernel {
  static constexpr int64_t kPanels = 1;
  static constexpr int64_t kRows = 4;

  static int64_t chunk(const WeightLayout&) { return kChunk; }
  static int64_t unpacked_bytes(const WeightLayout&) { return kUnpacked; }
  static void unpack(const WeightLayout& layout, const std::byte* packed, int64_t panel, int64_t index,
                     std::byte* out) {
    const PanelFormat& format = *layout.format;
    const BlockChunk chunk = block_chunk(format, layout.inputs, packed + panel * layout.panel_bytes, index);
    const auto widen = [](const std::byte* from, std::byte* to) {
      Lanes256::store(reinterpret_cast<float*>(to), Lanes256::load_f16(from));
      Lanes256::store(reinterpret_cast<float*>(to) + 8, Lanes256::load_f16(from + 16));
    };
    for (int64_t b = 0; b < chunk.blocks; ++b) {
      const int64_t low = kPanel * 32 * format.low_bits / 8;
      Codec::unpack(chunk.low + b * low, chunk.high + 64 * b, out + 512 * b);
      widen(chunk.scale + 32 * b, out + kScales + 64 * b);
      if (Codec::kMinimum) widen(chunk.minimum + 32 * b, out + kMinimums + 64 * b);
    }
  }
  static void tile(int64_t /*panels*/, int64_t rows, const Tile& tile) {
    using Function = void (*)(const Tile&, int);
    static constexpr Function kTable[] = {block_tile<Codec, 1>, block_tile<Codec, 2>, block_tile<Codec, 3>,
                                          block_tile<Codec, 4>};
    kTable[rows - 1](tile, 0);
    kTable[rows - 1](tile, 1);
  }
};

template <class Codec>
constexpr LinearVariant block_row(std::string_view codec) {
  return {codec, core::Isa::kAvx2, InputForm::kInt8Block, run_tiled<BlockKernel<Codec>>,
          tiled_scratch_bytes<BlockKernel<Codec>>};
}

constexpr std::array kRows{
    decoded_row<Lanes256>(core::Isa::kAvx2),
    float_row<Lanes256, F32>("f32", core::Isa::kAvx2),
    float_row<Lanes256, F16>("f16", core::Isa::kAvx2),
    float_row<Lanes256, Bf16>("bf16", core::Isa::kAvx2),
    block_row<Bytes8>("q8_0"),
    block_row<With<Nibbles, false>>("q4_0"),
    block_row<With<Nibbles, true>>("q4_1"),
    block_row<With<Fives, false>>("q5_0"),
    block_row<With<Fives, true>>("q5_1"),
};

}  // namespace

std::span<const LinearVariant> linear_avx2() {
  return kRows;
}

}  // namespace lamina::kernels

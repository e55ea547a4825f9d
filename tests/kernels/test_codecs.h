#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "codec/codec.h"

/// Codecs written down a second time, straight from the file formats, so that the kernels' own readers are checked
/// against something that shares no code with them. Formats of points use their codecs' decoders: they share the grids,
/// which tests/codec checks, and nothing else.
namespace lamina::kernels::testing {

inline float half(const std::byte* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, 2);
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                    : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}
inline int u8(const std::byte* p, int64_t i) {
  return static_cast<int>(p[i]);
}

template <typename Block>
void each_block(const std::byte* from, int64_t elements, int64_t size, int64_t bytes, float* out, Block block) {
  for (int64_t b = 0; b < elements / size; ++b) block(from + b * bytes, out + b * size);
}

inline void decode_f32(const std::byte* p, int64_t n, float* y) {
  std::memcpy(y, p, static_cast<size_t>(n) * 4);
}
inline void decode_f16(const std::byte* p, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = half(p + 2 * i);
}
inline void decode_bf16(const std::byte* p, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = std::bit_cast<float>(static_cast<uint32_t>(u8(p, 2 * i) | u8(p, 2 * i + 1) << 8) << 16);
  }
}
inline void decode_q8_0(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 32, 34, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 32; ++i) o[i] = static_cast<float>(static_cast<int8_t>(u8(b, 2 + i))) * half(b);
  });
}
template <int kBits, bool kMinimum>
void decode_small(const std::byte* p, int64_t n, float* y) {
  constexpr int kHead = (kMinimum ? 4 : 2);
  constexpr int kQuants = kHead + (kBits == 5 ? 4 : 0);
  each_block(p, n, 32, kQuants + 16, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 32; ++i) {
      int q = i < 16 ? u8(b, kQuants + i) & 15 : u8(b, kQuants + i - 16) >> 4;
      if (kBits == 5 && (u8(b, kHead + i / 8) >> (i % 8) & 1) != 0) q += 16;
      if (kMinimum) {
        o[i] = static_cast<float>(q) * half(b) + half(b + 2);
      } else {
        o[i] = static_cast<float>(q - (1 << (kBits - 1))) * half(b);
      }
    }
  });
}
inline std::array<int, 2> scale_min(const std::byte* s, int j) {
  if (j < 4) return {u8(s, j) & 63, u8(s, j + 4) & 63};
  return {(u8(s, j + 4) & 15) + (u8(s, j - 4) >> 6) * 16, (u8(s, j + 4) >> 4) + (u8(s, j) >> 6) * 16};
}
template <bool kFive>
void decode_q45_k(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 256, kFive ? 176 : 144, y, [](const std::byte* b, float* o) {
    const std::byte* quants = b + (kFive ? 48 : 16);
    for (int pair = 0; pair < 4; ++pair) {
      for (int side = 0; side < 2; ++side) {
        const auto [scale, minimum] = scale_min(b + 4, 2 * pair + side);
        for (int i = 0; i < 32; ++i) {
          int q = side == 0 ? u8(quants, 32 * pair + i) & 15 : u8(quants, 32 * pair + i) >> 4;
          if (kFive && (u8(b, 16 + i) & (1 << (2 * pair + side))) != 0) q += 16;
          *o++ =
              half(b) * static_cast<float>(scale) * static_cast<float>(q) - half(b + 2) * static_cast<float>(minimum);
        }
      }
    }
  });
}
inline void decode_q6_k(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 256, 210, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 256; ++i) {
      const int h = i / 128;
      const int l = i % 32;
      const int quarter = i % 128 / 32;
      const int low = u8(b, 64 * h + (quarter % 2) * 32 + l);
      const int q =
          ((quarter / 2 != 0 ? low >> 4 : low & 15) + (u8(b, 128 + 32 * h + l) >> (2 * quarter) & 3) * 16) - 32;
      o[i] = half(b + 208) * static_cast<float>(static_cast<int8_t>(u8(b, 192 + i / 16))) * static_cast<float>(q);
    }
  });
}
inline void decode_q2_k(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 256, 84, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 256; ++i) {
      const int q = u8(b, 16 + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
      o[i] = half(b + 80) * static_cast<float>(u8(b, i / 16) & 15) * static_cast<float>(q) -
             half(b + 82) * static_cast<float>(u8(b, i / 16) >> 4);
    }
  });
}
inline void decode_q3_k(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 256, 110, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 256; ++i) {
      const int s = i / 16;
      const int low = s < 8 ? u8(b, 96 + s) & 15 : u8(b, 96 + s - 8) >> 4;
      const int scale = low + (u8(b, 104 + s % 4) >> (s / 4 * 2) & 3) * 16 - 32;
      const int q = (u8(b, 32 + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3) -
                    ((u8(b, i % 32) >> (i / 32) & 1) != 0 ? 0 : 4);
      o[i] = half(b + 108) * static_cast<float>(scale) * static_cast<float>(q);
    }
  });
}
inline constexpr std::array<int, 16> kUneven{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
inline void decode_iq4_nl(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 32, 18, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 32; ++i) {
      const int q = i < 16 ? u8(b, 2 + i) & 15 : u8(b, 2 + i - 16) >> 4;
      o[i] = static_cast<float>(kUneven[static_cast<size_t>(q)]) * half(b);
    }
  });
}
inline void decode_iq4_xs(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 256, 136, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 256; ++i) {
      const int g = i / 32;
      const int high = (u8(b, 2) | u8(b, 3) << 8) >> (2 * g) & 3;
      const int scale = (u8(b, 4 + g / 2) >> (g % 2 * 4) & 15) + 16 * high - 32;
      const int both = u8(b, 8 + 16 * g + i % 16);
      const int q = i % 32 < 16 ? both & 15 : both >> 4;
      o[i] = half(b) * static_cast<float>(scale) * static_cast<float>(kUneven[static_cast<size_t>(q)]);
    }
  });
}
/// Four values of the block's own, scales as nibbles of two's complement, d in units of 1/1024.
inline void decode_cb2(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 256, 78, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 256; ++i) {
      const int nibble = u8(b, 6 + i / 32) >> (i / 16 % 2 * 4) & 15;
      const int scale = nibble < 8 ? nibble : nibble - 16;
      const int q = u8(b, 14 + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
      o[i] = half(b) / 1024 * static_cast<float>(scale) * static_cast<float>(static_cast<int8_t>(u8(b, 2 + q)));
    }
  });
}
/// Four bits are a sign, two bits of exponent and one of fraction; the block's exponent is the first byte less 127.
inline void decode_mxfp4(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 32, 17, y, [](const std::byte* b, float* o) {
    for (int i = 0; i < 32; ++i) {
      const int q = i < 16 ? u8(b, 1 + i) & 15 : u8(b, 1 + i - 16) >> 4;
      const int exponent = q >> 1 & 3;
      const float size = exponent == 0 ? 0.5F * static_cast<float>(q & 1)
                                       : std::ldexp(1.0F + 0.5F * static_cast<float>(q & 1), exponent - 1);
      o[i] = std::ldexp((q & 8) != 0 ? -size : size, u8(b, 0) - 127);
    }
  });
}
/// A format that no kernel knows: 24 signed bytes and a float32 scale.
inline void decode_toy(const std::byte* p, int64_t n, float* y) {
  each_block(p, n, 24, 28, y, [](const std::byte* b, float* o) {
    float scale = 0;
    std::memcpy(&scale, b, 4);
    for (int i = 0; i < 24; ++i) o[i] = scale * static_cast<float>(static_cast<int8_t>(u8(b, 4 + i)));
  });
}

/// A codec and where its float16 fields are in a block (so that random blocks have sane scales).
struct TestCodec {
  codec::Codec codec;
  std::vector<int> halves;
};

inline const std::vector<TestCodec>& test_codecs() {
  static const std::vector<TestCodec> codecs{
      {{{"f32", 1, 4}, 0, decode_f32}, {}},
      {{{"f16", 1, 2}, 1, decode_f16}, {}},
      {{{"bf16", 1, 2}, 30, decode_bf16}, {}},
      {{{"q8_0", 32, 34}, 8, decode_q8_0}, {0}},
      {{{"q4_0", 32, 18}, 2, decode_small<4, false>}, {0}},
      {{{"q4_1", 32, 20}, 3, decode_small<4, true>}, {0, 2}},
      {{{"q5_0", 32, 22}, 6, decode_small<5, false>}, {0}},
      {{{"q5_1", 32, 24}, 7, decode_small<5, true>}, {0, 2}},
      {{{"iq4_nl", 32, 18}, 20, decode_iq4_nl}, {0}},
      {{{"mxfp4", 32, 17}, 39, decode_mxfp4}, {}},
      {{{"iq4_xs", 256, 136}, 23, decode_iq4_xs}, {0}},
      {{{"cb2", 256, 78}, -1, decode_cb2}, {0}},
      {*codec::find_codec("iq3_s"), {0}},
      {*codec::find_codec("iq3_xxs"), {0}},
      {*codec::find_codec("iq2_s"), {0}},
      {*codec::find_codec("iq2_xs"), {0}},
      {*codec::find_codec("iq2_xxs"), {0}},
      {{{"q2_k", 256, 84}, 10, decode_q2_k}, {80, 82}},
      {{{"q3_k", 256, 110}, 11, decode_q3_k}, {108}},
      {{{"q4_k", 256, 144}, 12, decode_q45_k<false>}, {0, 2}},
      {{{"q5_k", 256, 176}, 13, decode_q45_k<true>}, {0, 2}},
      {{{"q6_k", 256, 210}, 14, decode_q6_k}, {208}},
      {{{"toy", 24, 28}, -1, decode_toy}, {}},
  };
  return codecs;
}

inline const TestCodec& test_codec(std::string_view name) {
  for (const TestCodec& codec : test_codecs()) {
    if (codec.codec.format.name == name) return codec;
  }
  std::abort();
}

/// Random blocks; with `extreme` every quantized byte is 0x00 or 0xff in long runs.
inline std::vector<std::byte> random_blocks(const TestCodec& codec, int64_t elements, std::mt19937& random,
                                            bool extreme = false) {
  const core::NumberFormat& format = codec.codec.format;
  std::vector<std::byte> data(static_cast<size_t>(format.row_bytes(elements)));
  uint8_t run = 0;
  for (size_t i = 0; i < data.size(); ++i) {
    if (i % 64 == 0) run = random() % 2 == 0 ? 0x00 : 0xff;
    data[i] = extreme ? static_cast<std::byte>(run) : static_cast<std::byte>(random() & 0xff);
  }
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  const auto put_half = [&](std::byte* to) {
    const auto bits = static_cast<uint16_t>((random() & 0x83ff) | (8 + random() % 8) << 10);
    std::memcpy(to, &bits, 2);
  };
  const int64_t blocks = elements / format.block_elements;
  for (int64_t b = 0; b < blocks; ++b) {
    std::byte* block = data.data() + b * format.block_bytes;
    for (const int at : codec.halves) put_half(block + at);
    if (format.name == "f16") put_half(block);
    if (format.name == "mxfp4") block[0] = static_cast<std::byte>(117 + random() % 16);
    if (format.name == "f32" || format.name == "toy" || format.name == "bf16") {
      const auto bits = std::bit_cast<uint32_t>(uniform(random));
      if (format.name == "bf16") {
        const auto top = static_cast<uint16_t>(bits >> 16);
        std::memcpy(block, &top, 2);
      } else {
        std::memcpy(block, &bits, 4);
      }
    }
  }
  return data;
}

}  // namespace lamina::kernels::testing

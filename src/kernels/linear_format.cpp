#include "kernels/linear_format.h"

#include "codec/cb2.h"
#include "codec/iq4_nl.h"
#include "codec/mxfp4.h"

namespace lamina::kernels {

namespace {

float widen_f32(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
float widen_f16(uint32_t bits) {
  return half_to_float(static_cast<uint16_t>(bits));
}
float widen_bf16(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}

uint8_t byte_at(const std::byte* from, int64_t index) {
  return static_cast<uint8_t>(from[index]);
}

/// 32 nibbles: low ones are numbers 0..15, high ones 16..31.
void read_nibbles(const std::byte* from, BlockValues& out) {
  for (size_t i = 0; i < 16; ++i) {
    const uint8_t both = byte_at(from, static_cast<int64_t>(i));
    out.raw[i] = both & 15;
    out.raw[i + 16] = both >> 4;
  }
}

void read_fifth_bits(const std::byte* from, BlockValues& out) {
  const auto bits = load_as<uint32_t>(from);
  for (size_t i = 0; i < 32; ++i) out.raw[i] = static_cast<uint8_t>(out.raw[i] | ((bits >> i & 1U) << 4));
}

void read_q8_0(const std::byte* block, BlockValues& out) {
  out.scale = load_as<uint16_t>(block);
  for (size_t i = 0; i < 32; ++i) out.raw[i] = byte_at(block + 2, static_cast<int64_t>(i)) ^ 0x80;
}
void read_q4_0(const std::byte* block, BlockValues& out) {
  out.scale = load_as<uint16_t>(block);
  read_nibbles(block + 2, out);
}
void read_q4_1(const std::byte* block, BlockValues& out) {
  out.scale = load_as<uint16_t>(block);
  out.minimum = load_as<uint16_t>(block, 1);
  read_nibbles(block + 4, out);
}
void read_q5_0(const std::byte* block, BlockValues& out) {
  out.scale = load_as<uint16_t>(block);
  read_nibbles(block + 6, out);
  read_fifth_bits(block + 2, out);
}
void read_q5_1(const std::byte* block, BlockValues& out) {
  out.scale = load_as<uint16_t>(block);
  out.minimum = load_as<uint16_t>(block, 1);
  read_nibbles(block + 8, out);
  read_fifth_bits(block + 4, out);
}

void read_mxfp4(const std::byte* block, BlockValues& out) {
  out.scale = mxfp4_scale(block);
  read_nibbles(block + 1, out);
}

void read_iq4_xs(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block);
  for (size_t s = 0; s < 16; ++s) {
    out.scale[s] = static_cast<uint8_t>(iq4_xs_scale(block, static_cast<int64_t>(s / 2)));
  }
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t both = byte_at(block + 8, static_cast<int64_t>(i / 32 * 16 + i % 16));
    out.raw[i] = i % 32 < 16 ? both & 15 : both >> 4;
  }
}

void read_q4_k(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block);
  out.dmin = load_as<uint16_t>(block, 1);
  read_pairs6(block + 4, out);
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t both = byte_at(block + 16, static_cast<int64_t>(i / 64 * 32 + i % 32));
    out.raw[i] = i % 64 < 32 ? both & 15 : both >> 4;
  }
}

void read_q5_k(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block);
  out.dmin = load_as<uint16_t>(block, 1);
  read_pairs6(block + 4, out);
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t both = byte_at(block + 48, static_cast<int64_t>(i / 64 * 32 + i % 32));
    const int bit = byte_at(block + 16, static_cast<int64_t>(i % 32)) >> (i / 32) & 1;
    out.raw[i] = static_cast<uint8_t>((i % 64 < 32 ? both & 15 : both >> 4) | bit << 4);
  }
}

void read_q6_k(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block + 208);
  for (size_t s = 0; s < 16; ++s) out.scale[s] = byte_at(block + 192, static_cast<int64_t>(s));
  for (size_t i = 0; i < 256; ++i) {
    const size_t half = i / 128;
    const size_t part = i % 128 / 32;
    const uint8_t both = byte_at(block, static_cast<int64_t>(64 * half + 32 * (part & 1) + i % 32));
    const int high = byte_at(block + 128, static_cast<int64_t>(32 * half + i % 32)) >> (2 * part) & 3;
    out.raw[i] = static_cast<uint8_t>((part < 2 ? both & 15 : both >> 4) | high << 4);
  }
}

void read_q2_k(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block + 80);
  out.dmin = load_as<uint16_t>(block + 82);
  for (size_t s = 0; s < 16; ++s) {
    out.scale[s] = byte_at(block, static_cast<int64_t>(s)) & 15;
    out.minimum[s] = byte_at(block, static_cast<int64_t>(s)) >> 4;
  }
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t four = byte_at(block + 16, static_cast<int64_t>(i / 128 * 32 + i % 32));
    out.raw[i] = four >> (2 * (i % 128 / 32)) & 3;
  }
}

void read_cb2(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block);
  for (size_t k = 0; k < 4; ++k) out.book[k] = load_as<int8_t>(block + 2, static_cast<int64_t>(k));
  for (size_t s = 0; s < 16; ++s) {
    const int nibble = byte_at(block + 6, static_cast<int64_t>(s / 2)) >> (s % 2 * 4) & 15;
    out.scale[s] = static_cast<uint8_t>((nibble ^ 8) - 8);
  }
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t four = byte_at(block + 14, static_cast<int64_t>(i / 128 * 32 + i % 32));
    out.raw[i] = four >> (2 * (i % 128 / 32)) & 3;
  }
}

void read_q3_k(const std::byte* block, SuperValues& out) {
  out.d = load_as<uint16_t>(block + 108);
  read_scales_q3_k(block + 96, out);
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t four = byte_at(block + 32, static_cast<int64_t>(i / 128 * 32 + i % 32));
    const int high = byte_at(block, static_cast<int64_t>(i % 32)) >> (i / 32) & 1;
    out.raw[i] = static_cast<uint8_t>((four >> (2 * (i % 128 / 32)) & 3) | high << 2);
  }
}

PanelFormat float_format(std::string_view codec, int64_t bytes, float (*widen)(uint32_t)) {
  PanelFormat format;
  format.codec = codec;
  format.block_bytes = format.panel_bytes = bytes;
  format.widen = widen;
  return format;
}

PanelFormat pair_format() {
  PanelFormat format = float_format("bf16", 2, widen_bf16);
  format.kind = PanelKind::kPair;
  format.activation = InputForm::kBf16;
  return format;
}

PanelFormat block_format(std::string_view codec, int bits, int zero, void (*read)(const std::byte*, BlockValues&)) {
  PanelFormat format;
  format.codec = codec;
  format.kind = PanelKind::kBlock;
  format.activation = InputForm::kInt8Block;
  format.block = 32;
  format.minimum = zero == 0;
  format.block_bytes = format.panel_bytes = 4 * bits + 2 + (format.minimum ? 2 : 0);
  format.low_bits = bits == 5 ? 4 : bits;
  format.high_bits = bits == 5 ? 1 : 0;
  format.zero = zero;
  format.read_block = read;
  return format;
}

/// Blocks of nibbles that index a table.
PanelFormat table_format(std::string_view codec, const int8_t* values, void (*read)(const std::byte*, BlockValues&)) {
  PanelFormat format = block_format(codec, 4, 8, read);
  format.values = values;
  return format;
}

PanelFormat mxfp4_format() {
  PanelFormat format = table_format("mxfp4", codec::kMxfp4Doubled, read_mxfp4);
  format.block_bytes = 17;
  format.widen_scale = [](uint16_t bits) { return widen_bf16(bits); };
  return format;
}

PanelFormat super_format(std::string_view codec, int low, int high, ScaleForm scales,
                         void (*read)(const std::byte*, SuperValues&)) {
  PanelFormat format;
  format.codec = codec;
  format.kind = PanelKind::kSuper;
  format.activation = InputForm::kInt8Super;
  format.block = 256;
  format.low_bits = low;
  format.high_bits = high;
  format.scales = scales;
  format.minimum = scales == ScaleForm::kPair6 || scales == ScaleForm::kPair4;
  format.zero = format.minimum ? 0 : 1 << (low + high - 1);
  format.scale_zero = scales == ScaleForm::kSix ? 32 : 0;
  format.block_bytes = 32 * (low + high) + scale_form_bytes(scales) / kPanel + (format.minimum ? 4 : 2);
  format.panel_bytes = format.block_bytes;
  format.read_super = read;
  return format;
}

PanelFormat cb2_format() {
  PanelFormat format = super_format("cb2", 2, 0, ScaleForm::kSigned4, read_cb2);
  format.block_bytes = format.panel_bytes = 78;
  format.books = true;
  format.factor = codec::kCb2Unit;
  return format;
}

PanelFormat iq4_xs_format() {
  PanelFormat format = super_format("iq4_xs", 4, 0, ScaleForm::kWide8, read_iq4_xs);
  format.block_bytes = 136;
  format.values = codec::kIq4Values;
  return format;
}

/// Any format of points: its own reader says where they lie, the rest is the same.
template <auto kRead, const PointGrid& kGrid, size_t kPerScale>
void read_grid(const std::byte* block, SuperValues& out) {
  constexpr auto kWeights = static_cast<size_t>(kGrid.weights);
  PointBlock points;
  kRead(block, points);
  out.d = load_as<uint16_t>(block);
  for (size_t i = 0; i < 256; ++i) {
    const uint32_t four = kGrid.values[points.index[i / kWeights] * (kWeights / 4) + i % kWeights / 4];
    const auto size = static_cast<int>(four >> (i % 4 * 8) & 0xff);
    const bool minus = (points.signs[i / 8] >> (i % 8) & 1) != 0;
    out.raw[i] = static_cast<uint8_t>(kPointZero + (minus ? -size : size));
  }
  for (size_t s = 0; s < 16; ++s) out.scale[s] = static_cast<uint8_t>(2 * points.scale[16 * s / kPerScale] + 1);
}

template <auto kRead, const PointGrid& kGrid, size_t kPerScale>
PanelFormat point_format(std::string_view codec, int64_t block_bytes, float factor) {
  PanelFormat format;
  format.codec = codec;
  format.kind = PanelKind::kSuper;
  format.activation = InputForm::kInt8Super;
  format.block = 256;
  format.zero = kPointZero;
  format.scales = kPerScale == 32 ? ScaleForm::kOdd32 : ScaleForm::kOdd16;
  format.grid = &kGrid;
  format.factor = factor;
  format.block_bytes = block_bytes;
  const int64_t planes = format.low_bytes() + format.high_bytes() + format.sign_bytes();
  format.panel_bytes = (planes + scale_form_bytes(format.scales)) / kPanel + 2;
  format.read_points = kRead;
  format.read_super = read_grid<kRead, kGrid, kPerScale>;
  return format;
}

}  // namespace

std::span<const PanelFormat> panel_formats() {
  static const std::array formats{
      float_format("f32", 4, widen_f32),
      float_format("f16", 2, widen_f16),
      pair_format(),
      float_format("bf16", 2, widen_bf16),
      block_format("q8_0", 8, 128, read_q8_0),
      block_format("q4_0", 4, 8, read_q4_0),
      block_format("q4_1", 4, 0, read_q4_1),
      block_format("q5_0", 5, 16, read_q5_0),
      block_format("q5_1", 5, 0, read_q5_1),
      table_format("iq4_nl", codec::kIq4Values, read_q4_0),
      mxfp4_format(),
      super_format("q2_k", 2, 0, ScaleForm::kPair4, read_q2_k),
      super_format("q3_k", 2, 1, ScaleForm::kSix, read_q3_k),
      super_format("q4_k", 4, 0, ScaleForm::kPair6, read_q4_k),
      super_format("q5_k", 4, 1, ScaleForm::kPair6, read_q5_k),
      super_format("q6_k", 4, 2, ScaleForm::kSigned8, read_q6_k),
      iq4_xs_format(),
      cb2_format(),
      point_format<read_points_iq3_s, kGridOfIq3S, 32>("iq3_s", 110, 1.0F),
      point_format<read_points_iq3_xxs, kGridOfIq3Xxs, 32>("iq3_xxs", 98, 0.25F),
      point_format<read_points_iq2_s, kGridOfIq2S, 16>("iq2_s", 82, 0.125F),
      point_format<read_points_iq2_xs, kGridOfIq2Xs, 16>("iq2_xs", 74, 0.125F),
      point_format<read_points_iq2_xxs, kGridOfIq2Xxs, 32>("iq2_xxs", 66, 0.125F),
  };
  return formats;
}

const PanelFormat* find_panel_format(std::string_view codec, bool exact) {
  for (const PanelFormat& format : panel_formats()) {
    if (format.codec == codec && (!exact || format.activation == InputForm::kFloat)) return &format;
  }
  return nullptr;
}

uint16_t mxfp4_scale(const std::byte* block) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(codec::mxfp4_half_scale(byte_at(block, 0))) >> 16);
}

int8_t iq4_xs_scale(const std::byte* block, int64_t group) {
  const int low = byte_at(block + 4, group / 2) >> (group % 2 * 4) & 15;
  const int high = load_as<uint16_t>(block, 1) >> (2 * group) & 3;
  return static_cast<int8_t>((low | high << 4) - 32);
}

void read_pairs6(const std::byte* from, SuperValues& out) {
  for (int64_t j = 0; j < 8; ++j) {
    uint8_t scale = 0;
    uint8_t minimum = 0;
    if (j < 4) {
      scale = byte_at(from, j) & 63;
      minimum = byte_at(from, j + 4) & 63;
    } else {
      scale = static_cast<uint8_t>((byte_at(from, j + 4) & 15) | (byte_at(from, j - 4) >> 6 << 4));
      minimum = static_cast<uint8_t>((byte_at(from, j + 4) >> 4) | (byte_at(from, j) >> 6 << 4));
    }
    for (int64_t half = 0; half < 2; ++half) {
      out.scale[static_cast<size_t>(2 * j + half)] = scale;
      out.minimum[static_cast<size_t>(2 * j + half)] = minimum;
    }
  }
}

void read_scales_q3_k(const std::byte* from, SuperValues& out) {
  for (size_t s = 0; s < 16; ++s) {
    const auto low = byte_at(from, static_cast<int64_t>(s % 8)) >> (s < 8 ? 0 : 4) & 15;
    const auto high = byte_at(from, static_cast<int64_t>(8 + s % 4)) >> (2 * (s / 4)) & 3;
    out.scale[s] = static_cast<uint8_t>(low | high << 4);
  }
}

float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t rest = bits & 0x7fffU;
  if (rest >= 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | (rest & 0x3ffU) << 13);
  if (rest < 0x400U) {  // subnormal or zero: an exact product
    const float value = static_cast<float>(rest) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000U));
}

}  // namespace lamina::kernels

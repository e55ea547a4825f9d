#include "kernels/linear_format.h"

namespace lamina::kernels {

namespace {

uint8_t byte_of(const std::byte* from, int64_t index) {
  return static_cast<uint8_t>(from[index]);
}

void merge_byte(std::byte* to, int64_t index, int value) {
  to[index] |= static_cast<std::byte>(value);
}

/// The place of `input` (in its block) of `output` in a plane: byte and shift.
struct Place {
  int64_t byte = 0;
  int shift = 0;
};

/// Bytes: group of 4 inputs, output, input. Nibbles: in each 32 inputs, groups j and j + 4 share bytes.
/// Two bits: in each 32 inputs, groups j, j + 2, j + 4, j + 6 share bytes.
Place plane_place(int bits, int64_t input, int64_t output) {
  const int64_t lane = 4 * output + input % 4;
  const int64_t group = input % 32 / 4;
  const int64_t block = input / 32;
  if (bits == 8) return {(8 * block + group) * 64 + lane, 0};
  if (bits == 4) return {(4 * block + group % 4) * 64 + lane, group < 4 ? 0 : 4};
  if (bits == 2) return {(2 * block + group % 2) * 64 + lane, static_cast<int>(group / 2 * 2)};
  return {(8 * block + group) * 8 + lane / 8, static_cast<int>(lane % 8)};
}

/// Number `raw` split into the low and the high plane; planes start as zeros.
void put_raw(const PanelFormat& format, std::byte* low, std::byte* high, int64_t input, int64_t output, int raw) {
  const Place at = plane_place(format.low_bits, input, output);
  merge_byte(low, at.byte, (raw & ((1 << format.low_bits) - 1)) << at.shift);
  if (format.high_bits == 0) return;
  const Place above = plane_place(format.high_bits, input, output);
  merge_byte(high, above.byte, raw >> format.low_bits << above.shift);
}

int get_plane(int bits, const std::byte* plane, int64_t input, int64_t output) {
  const Place at = plane_place(bits, input, output);
  return byte_of(plane, at.byte) >> at.shift & ((1 << bits) - 1);
}

int get_raw(const PanelFormat& format, const std::byte* low, const std::byte* high, int64_t input, int64_t output) {
  int raw = get_plane(format.low_bits, low, input, output);
  if (format.high_bits != 0) raw |= get_plane(format.high_bits, high, input, output) << format.low_bits;
  return raw;
}

/// Six bits of entry `index` (0..count-1): low nibbles of entries 2j and 2j + 1 share a byte, high pairs of four do.
void put_six(std::byte* to, int64_t index, int64_t output, int value) {
  merge_byte(to, index / 2 * kPanel + output, (value & 15) << (index % 2 * 4));
  merge_byte(to + 128, index / 4 * kPanel + output, value >> 4 << (index % 4 * 2));
}
int get_six(const std::byte* from, int64_t index, int64_t output) {
  const int low = byte_of(from, index / 2 * kPanel + output) >> (index % 2 * 4) & 15;
  return low | (byte_of(from + 128, index / 4 * kPanel + output) >> (index % 4 * 2) & 3) << 4;
}

void put_scales(const PanelFormat& format, std::byte* to, int64_t output, const SuperValues& values) {
  for (int64_t s = 0; s < 16; ++s) {
    const int scale = values.scale[static_cast<size_t>(s)];
    const int minimum = values.minimum[static_cast<size_t>(s)];
    switch (format.scales) {
      case ScaleForm::kNone:
        break;
      case ScaleForm::kPair6:  // per 32 inputs: scale, minimum
        put_six(to, s, output, s % 2 == 0 ? scale : minimum);
        break;
      case ScaleForm::kSigned8:
        merge_byte(to, s * kPanel + output, scale);
        break;
      case ScaleForm::kPair4:
        merge_byte(to, s * kPanel + output, scale | minimum << 4);
        break;
      case ScaleForm::kSix:
        put_six(to, s, output, scale);
        break;
    }
  }
}

}  // namespace

uint8_t block_raw(const PanelFormat& format, const BlockChunk& chunk, int64_t block, int64_t input, int64_t output) {
  const std::byte* low = chunk.low + block * format.low_bytes();
  const std::byte* high = chunk.high + block * format.high_bytes();
  return static_cast<uint8_t>(get_raw(format, low, high, input, output));
}

int64_t scale_form_bytes(ScaleForm form) {
  constexpr std::array<int64_t, 5> kBytes{0, 192, 256, 256, 192};
  return kBytes[static_cast<size_t>(form)];
}

SuperUnit super_unit(const PanelFormat& format, const std::byte* panel, int64_t index) {
  SuperUnit unit;
  unit.low = panel + index * kPanel * format.block_bytes;
  unit.high = unit.low + format.low_bytes();
  unit.scale = unit.high + format.high_bytes();
  unit.d = unit.scale + scale_form_bytes(format.scales);
  unit.dmin = unit.d + 2 * kPanel;
  return unit;
}

uint8_t super_raw(const PanelFormat& format, const SuperUnit& unit, int64_t input, int64_t output) {
  return static_cast<uint8_t>(get_raw(format, unit.low, unit.high, input, output));
}

int super_scale(const PanelFormat& format, const SuperUnit& unit, int64_t sub, int64_t output) {
  switch (format.scales) {
    case ScaleForm::kPair6:
      return get_six(unit.scale, sub / 2 * 2, output);
    case ScaleForm::kSigned8:
      return static_cast<int8_t>(byte_of(unit.scale, sub * kPanel + output));
    case ScaleForm::kPair4:
      return byte_of(unit.scale, sub * kPanel + output) & 15;
    case ScaleForm::kSix:
      return get_six(unit.scale, sub, output) - format.scale_zero;
    case ScaleForm::kNone:
      break;
  }
  return 1;
}

int super_minimum(const PanelFormat& format, const SuperUnit& unit, int64_t sub, int64_t output) {
  if (format.scales == ScaleForm::kPair6) return get_six(unit.scale, sub / 2 * 2 + 1, output);
  if (format.scales == ScaleForm::kPair4) return byte_of(unit.scale, sub * kPanel + output) >> 4;
  return 0;
}

void pack_float_panel(const PanelFormat& format, const WeightLayout& layout, const std::byte* rows, int64_t count,
                      std::byte* packed) {
  const int64_t size = format.block_bytes;
  for (int64_t output = 0; output < count; ++output) {
    const std::byte* row = rows + output * layout.inputs * size;
    for (int64_t k = 0; k < layout.inputs; ++k) {
      std::memcpy(packed + (k * kPanel + output) * size, row + k * size, static_cast<size_t>(size));
    }
  }
}

void pack_block_panel(const PanelFormat& format, const WeightLayout& layout, const std::byte* rows, int64_t count,
                      std::byte* packed) {
  const int64_t blocks = layout.inputs / 32;
  BlockValues values;
  for (int64_t b = 0; b < blocks; ++b) {
    const BlockChunk chunk = block_chunk(format, layout.inputs, packed, b / 8);
    const auto at = [packed](const std::byte* part) { return packed + (part - packed); };
    for (int64_t output = 0; output < count; ++output) {
      format.read_block(rows + (output * blocks + b) * format.block_bytes, values);
      for (int64_t k = 0; k < 32; ++k) {
        put_raw(format, at(chunk.low) + b % 8 * format.low_bytes(), at(chunk.high) + b % 8 * format.high_bytes(), k,
                output, values.raw[static_cast<size_t>(k)]);
      }
      store_as(at(chunk.scale), b % 8 * kPanel + output, values.scale);
      if (format.minimum) store_as(at(chunk.minimum), b % 8 * kPanel + output, values.minimum);
    }
  }
}

void pack_super_panel(const PanelFormat& format, const WeightLayout& layout, const std::byte* rows, int64_t count,
                      std::byte* packed) {
  const int64_t blocks = layout.inputs / 256;
  for (int64_t b = 0; b < blocks; ++b) {
    const SuperUnit unit = super_unit(format, packed, b);
    const auto at = [packed](const std::byte* part) { return packed + (part - packed); };
    for (int64_t output = 0; output < count; ++output) {
      SuperValues values;
      format.read_super(rows + (output * blocks + b) * format.block_bytes, values);
      for (int64_t k = 0; k < 256; ++k) {
        put_raw(format, at(unit.low), at(unit.high), k, output, values.raw[static_cast<size_t>(k)]);
      }
      put_scales(format, at(unit.scale), output, values);
      store_as(at(unit.d), output, values.d);
      if (format.minimum) store_as(at(unit.dmin), output, values.dmin);
    }
  }
}

}  // namespace lamina::kernels

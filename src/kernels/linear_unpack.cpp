#include "kernels/linear_format.h"

namespace lamina::kernels {

namespace {

uint8_t byte_of(const std::byte* from, int64_t index) {
  return static_cast<uint8_t>(from[index]);
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

int get_plane(int bits, const std::byte* plane, int64_t input, int64_t output) {
  const Place at = plane_place(bits, input, output);
  return byte_of(plane, at.byte) >> at.shift & ((1 << bits) - 1);
}

int get_raw(const PanelFormat& format, const std::byte* low, const std::byte* high, int64_t input, int64_t output) {
  int raw = get_plane(format.low_bits, low, input, output);
  if (format.high_bits != 0) raw |= get_plane(format.high_bits, high, input, output) << format.low_bits;
  return raw;
}

/// Six bits of entry `index`: low nibbles of entries 2j and 2j + 1 share a byte, high pairs of four do.
int get_six(const std::byte* from, int64_t index, int64_t output) {
  const int low = byte_of(from, index / 2 * kPanel + output) >> (index % 2 * 4) & 15;
  return low | (byte_of(from + 128, index / 4 * kPanel + output) >> (index % 4 * 2) & 3) << 4;
}

/// Bit j above an index's lower eight: 16 bits, one per output.
int index_bit(const PointGrid& grid, const std::byte* high, int64_t point, int64_t j, int64_t output) {
  return byte_of(high, 2 * (grid.high * point + j) + output / 8) >> (output % 8) & 1;
}

uint8_t point_raw(const PointGrid& grid, const SuperUnit& unit, int64_t input, int64_t output) {
  const int64_t point = input / grid.weights;
  int64_t index = byte_of(unit.low, point * kPanel + output);
  for (int64_t j = 0; j < grid.high; ++j) index |= int64_t{index_bit(grid, unit.high, point, j, output)} << (8 + j);
  const uint32_t four = grid.values[index * (grid.weights / 4) + input % grid.weights / 4];
  const auto size = static_cast<int>(four >> (input % 4 * 8) & 0xff);
  const bool minus = get_plane(1, unit.signs, input, output) != 0;
  return static_cast<uint8_t>(kPointZero + (minus ? -size : size));
}

}  // namespace

uint8_t block_raw(const PanelFormat& format, const BlockChunk& chunk, int64_t block, int64_t input, int64_t output) {
  const std::byte* low = chunk.low + block * format.low_bytes();
  const std::byte* high = chunk.high + block * format.high_bytes();
  return static_cast<uint8_t>(get_raw(format, low, high, input, output));
}

int64_t scale_form_bytes(ScaleForm form) {
  constexpr std::array<int64_t, 9> kBytes{0, 192, 256, 256, 192, 128, 64, 128, 128};
  return kBytes[static_cast<size_t>(form)];
}

SuperUnit super_unit(const PanelFormat& format, const std::byte* panel, int64_t index) {
  SuperUnit unit;
  unit.low = panel + index * kPanel * format.panel_bytes;
  unit.high = unit.low + format.low_bytes();
  unit.signs = unit.high + format.high_bytes();
  unit.scale = unit.signs + format.sign_bytes();
  unit.d = unit.scale + scale_form_bytes(format.scales);
  unit.dmin = unit.d + 2 * kPanel;
  unit.book = unit.d + 2 * kPanel;
  return unit;
}

uint8_t super_raw(const PanelFormat& format, const SuperUnit& unit, int64_t input, int64_t output) {
  if (format.grid != nullptr) return point_raw(*format.grid, unit, input, output);
  return static_cast<uint8_t>(get_raw(format, unit.low, unit.high, input, output));
}

int super_number(const PanelFormat& format, const SuperUnit& unit, int64_t input, int64_t output) {
  const uint8_t raw = super_raw(format, unit, input, output);
  return format.books ? static_cast<int8_t>(byte_of(unit.book, 4 * output + raw)) : format.number(raw);
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
    case ScaleForm::kWide8:
      return static_cast<int8_t>(byte_of(unit.scale, sub / 2 * kPanel + output));
    case ScaleForm::kOdd32:
    case ScaleForm::kOdd16: {
      const int64_t at = format.scales == ScaleForm::kOdd32 ? sub / 2 : sub;
      return 2 * (byte_of(unit.scale, at / 2 * kPanel + output) >> (at % 2 * 4) & 15) + 1;
    }
    case ScaleForm::kSigned4:
      return ((byte_of(unit.scale, sub / 2 * kPanel + output) >> (sub % 2 * 4) & 15) ^ 8) - 8;
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

}  // namespace lamina::kernels

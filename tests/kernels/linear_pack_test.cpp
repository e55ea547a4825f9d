#include <gtest/gtest.h>

#include <random>

#include "kernels/linear.h"
#include "kernels/linear_format.h"
#include "test_codecs.h"

namespace lamina::kernels {
namespace {

using testing::random_blocks;
using testing::TestCodec;

/// A panel written number by number and bit by bit, from the description of the planes.
class SlowPanel {
 public:
  SlowPanel(const PanelFormat& format, const WeightLayout& layout)
      : format_(format), inputs_(layout.inputs), bytes_(static_cast<size_t>(layout.panel_bytes)) {}

  const std::vector<std::byte>& bytes() const { return bytes_; }

  void put_output(const std::byte* row, int64_t output) {
    if (format_.kind == PanelKind::kFloat) {
      for (int64_t k = 0; k < inputs_ * format_.block_bytes; ++k) {
        const int64_t size = format_.block_bytes;
        put((k / size * kPanel + output) * size + k % size, 0, static_cast<int>(row[k]));
      }
      return;
    }
    if (format_.kind == PanelKind::kPair) {
      for (int64_t k = 0; k < inputs_ * 2; ++k) {
        put((k / 4 * kPanel + output) * 4 + k % 4, 0, static_cast<int>(row[k]));
      }
      return;
    }
    for (int64_t b = 0; b < inputs_ / format_.block; ++b) {
      const std::byte* block = row + b * format_.block_bytes;
      format_.kind == PanelKind::kBlock ? put_block(block, b, output) : put_super(block, b, output);
    }
  }

 private:
  void put(int64_t byte, int shift, int value) {
    bytes_[static_cast<size_t>(byte)] |= static_cast<std::byte>(value << shift);
  }
  void put_half(int64_t byte, uint16_t value) {
    put(byte, 0, value & 255);
    put(byte + 1, 0, value >> 8);
  }
  /// Number `input` of a block into the plane of `bits` per number at `plane`.
  void put_plane(int64_t plane, int bits, int64_t input, int64_t output, int value) {
    const int64_t lane = 4 * output + input % 4;
    const int64_t group = input % 32 / 4;
    const int64_t block = input / 32;
    if (bits == 8) put(plane + (8 * block + group) * 64 + lane, 0, value);
    if (bits == 4) put(plane + (4 * block + group % 4) * 64 + lane, group < 4 ? 0 : 4, value);
    if (bits == 2) put(plane + (2 * block + group % 2) * 64 + lane, static_cast<int>(group / 2 * 2), value);
    if (bits == 1) put(plane + (8 * block + group) * 8 + lane / 8, static_cast<int>(lane % 8), value);
  }
  void put_number(int64_t low, int64_t high, int64_t input, int64_t output, int raw) {
    put_plane(low, format_.low_bits, input, output, raw & ((1 << format_.low_bits) - 1));
    if (format_.high_bits != 0) put_plane(high, format_.high_bits, input, output, raw >> format_.low_bits);
  }
  void put_six(int64_t at, int64_t index, int64_t output, int value) {
    put(at + index / 2 * kPanel + output, static_cast<int>(index % 2 * 4), value & 15);
    put(at + 128 + index / 4 * kPanel + output, static_cast<int>(index % 4 * 2), value >> 4);
  }
  void put_block(const std::byte* block, int64_t b, int64_t output) {
    BlockValues values;
    format_.read_block(block, values);
    const BlockChunk chunk = block_chunk(format_, inputs_, bytes_.data(), b / 8);
    const int64_t low = chunk.low - bytes_.data() + b % 8 * format_.low_bytes();
    const int64_t high = chunk.high - bytes_.data() + b % 8 * format_.high_bytes();
    for (int64_t k = 0; k < 32; ++k) put_number(low, high, k, output, values.raw[static_cast<size_t>(k)]);
    const int64_t lane = 2 * (b % 8 * kPanel + output);
    put_half(chunk.scale - bytes_.data() + lane, values.scale);
    if (format_.minimum) put_half(chunk.minimum - bytes_.data() + lane, values.minimum);
  }
  void put_super(const std::byte* block, int64_t b, int64_t output) {
    SuperValues values;
    format_.read_super(block, values);
    const SuperUnit unit = super_unit(format_, bytes_.data(), b);
    const auto place = [this](const std::byte* part) { return part - bytes_.data(); };
    if (format_.grid != nullptr) return put_points(block, unit, output);
    for (int64_t k = 0; k < 256; ++k) {
      put_number(place(unit.low), place(unit.high), k, output, values.raw[static_cast<size_t>(k)]);
    }
    for (int64_t s = 0; s < 16; ++s) {
      const int scale = values.scale[static_cast<size_t>(s)];
      const int minimum = values.minimum[static_cast<size_t>(s)];
      if (format_.scales == ScaleForm::kPair6) put_six(place(unit.scale), s, output, s % 2 == 0 ? scale : minimum);
      if (format_.scales == ScaleForm::kSix) put_six(place(unit.scale), s, output, scale);
      if (format_.scales == ScaleForm::kWide8 && s % 2 == 0) put(place(unit.scale) + s / 2 * kPanel + output, 0, scale);
      if (format_.scales == ScaleForm::kSigned8) put(place(unit.scale) + s * kPanel + output, 0, scale);
      if (format_.scales == ScaleForm::kSigned4)
        put(place(unit.scale) + s / 2 * kPanel + output, static_cast<int>(s % 2 * 4), scale & 15);
      if (format_.scales == ScaleForm::kPair4) put(place(unit.scale) + s * kPanel + output, 0, scale | minimum << 4);
    }
    put_half(place(unit.d) + 2 * output, values.d);
    if (format_.minimum) put_half(place(unit.dmin) + 2 * output, values.dmin);
    for (size_t k = 0; format_.books && k < 4; ++k)
      put(place(unit.book) + 4 * output + static_cast<int64_t>(k), 0, static_cast<uint8_t>(values.book[k]));
  }

  /// Indices by their lower bytes [point][16], bits above in 16-bit words [point][bit], signs like fifth bits.
  void put_points(const std::byte* block, const SuperUnit& unit, int64_t output) {
    PointBlock points;
    format_.read_points(block, points);
    const auto place = [this](const std::byte* part) { return part - bytes_.data(); };
    const PointGrid& grid = *format_.grid;
    for (int64_t p = 0; p < grid.points(); ++p) {
      const int index = points.index[static_cast<size_t>(p)];
      put(place(unit.low) + p * kPanel + output, 0, index & 255);
      for (int64_t j = 0; j < grid.high; ++j) {
        const int64_t word = place(unit.high) + 2 * (grid.high * p + j);
        put(word + output / 8, static_cast<int>(output % 8), index >> (8 + j) & 1);
      }
    }
    for (int64_t k = 0; k < 256; ++k) {
      put_plane(place(unit.signs), 1, k, output, points.signs[static_cast<size_t>(k / 8)] >> (k % 8) & 1);
    }
    for (int64_t s = 0; s < (format_.scales == ScaleForm::kOdd32 ? 8 : 16); ++s) {
      put(place(unit.scale) + s / 2 * kPanel + output, static_cast<int>(s % 2 * 4),
          points.scale[static_cast<size_t>(s)]);
    }
    put_half(place(unit.d) + 2 * output, load_as<uint16_t>(block));
  }

  const PanelFormat& format_;
  int64_t inputs_;
  std::vector<std::byte> bytes_;
};

TEST(LinearPack, WritesEveryBitWhereThePlanesSay) {
  std::mt19937 random(7);
  for (const PanelFormat& row : panel_formats()) {
    const PanelFormat* format = &row;
    const TestCodec& codec = testing::test_codec(format->codec);
    for (const int64_t blocks : {1, 2, 3, 7, 8, 9, 19}) {
      const int64_t inputs = blocks * format->block;
      for (const int64_t outputs : {1, 2, 3, 15, 16, 22}) {
        const WeightLayout layout =
            weight_layout(codec.codec, outputs, inputs, format->activation == InputForm::kFloat).value();
        const std::vector<std::byte> rows = random_blocks(codec, outputs * inputs, random);
        std::vector<std::byte> packed(static_cast<size_t>(layout.bytes()), std::byte{0xa5});
        pack_panels(layout, rows.data(), 0, layout.panels, packed.data());
        for (int64_t panel = 0; panel < layout.panels; ++panel) {
          SlowPanel slow(*format, layout);
          for (int64_t o = 0; o < kPanel && panel * kPanel + o < outputs; ++o) {
            slow.put_output(rows.data() + (panel * kPanel + o) * codec.codec.format.row_bytes(inputs), o);
          }
          const auto* from = packed.data() + panel * layout.panel_bytes;
          ASSERT_TRUE(std::equal(slow.bytes().begin(), slow.bytes().end(), from))
              << format->codec << " " << outputs << " x " << inputs << " panel " << panel;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lamina::kernels

// Matrices that lie input by input: the bits of the dense product where the inputs that are left out are 0, in every
// variant.
#include "kernels/columns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/memory.h"
#include "kernels/linear.h"
#include "test_codecs.h"

namespace lamina::kernels {
namespace {

constexpr const char* kCodecs[] = {"f32", "f16", "bf16", "q8_0"};

/// A random matrix in both layouts, and a row of inputs.
struct Matrix {
  const codec::Codec& codec;
  std::vector<std::byte> rows;
  std::vector<float> x;
  ColumnLayout layout;
  std::vector<std::byte> columns;

  Matrix(const char* name, int64_t outputs, int64_t inputs, unsigned seed)
      : codec(*codec::find_codec(name)), x(static_cast<size_t>(inputs)) {
    std::mt19937 random(seed);
    rows = testing::random_blocks(testing::test_codec(name), outputs * inputs, random);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(random);
    layout = columns_of(weight_layout(codec, outputs, inputs, false, 1).value());
    columns.resize(static_cast<size_t>(layout.bytes()), std::byte{0xa5});
    pack_columns(layout, rows.data(), 0, layout.width, columns.data());
  }

  /// The inputs with magnitudes of at least that.
  std::vector<int32_t> choose(float threshold) const {
    std::vector<int32_t> active;
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::fabs(x[i]) >= threshold) active.push_back(static_cast<int32_t>(i));
    }
    return active;
  }

  /// In pieces of that many outputs.
  std::vector<float> run(const ColumnVariant& variant, const std::vector<int32_t>& active, int64_t piece) const {
    std::vector<float> y(static_cast<size_t>(layout.width), -7.0F);
    for (int64_t begin = 0; begin < layout.width; begin += piece) {
      variant.run({.layout = &layout,
                   .packed = columns.data(),
                   .begin = begin,
                   .end = std::min(begin + piece, layout.width),
                   .x = x.data(),
                   .active = active,
                   .y = y.data()});
    }
    y.resize(static_cast<size_t>(layout.outputs));
    return y;
  }

  /// The product of linear.h with float activations, those that do not take part being 0.
  std::vector<float> dense(const std::vector<int32_t>& active) const {
    const WeightLayout panels = weight_layout(codec, layout.outputs, layout.inputs, true).value();
    std::vector<std::byte> packed(static_cast<size_t>(panels.bytes()));
    pack_panels(panels, rows.data(), 0, panels.panels, packed.data());
    std::vector<float> kept(x.size(), 0.0F);
    for (const int32_t i : active) kept[static_cast<size_t>(i)] = x[static_cast<size_t>(i)];
    std::vector<float> y(static_cast<size_t>(panels.panels * kPanel));
    core::AlignedBuffer scratch =
        core::AlignedBuffer::allocate(static_cast<size_t>(linear_scratch_bytes(panels, 1))).value();
    linear({.layout = &panels,
            .packed = packed.data(),
            .panel_end = panels.panels,
            .activations = reinterpret_cast<const std::byte*>(kept.data()),
            .rows = 1,
            .y = y.data(),
            .y_stride = std::ssize(y),
            .scratch = scratch.data()});
    y.resize(static_cast<size_t>(layout.outputs));
    return y;
  }
};

TEST(Columns, HaveTheBitsOfTheDenseProductInEveryVariant) {
  for (const char* name : kCodecs) {
    for (const auto& [outputs, inputs] : {std::pair<int64_t, int64_t>{1, 32}, {16, 64}, {37, 96}, {100, 320}}) {
      const Matrix matrix(name, outputs, inputs, static_cast<unsigned>(outputs));
      for (const float threshold : {0.0F, 0.3F, 1.0F, 9.0F}) {
        const std::vector<int32_t> active = matrix.choose(threshold);
        ASSERT_TRUE(threshold != 0 || std::ssize(active) == inputs);
        const std::vector<float> wanted = matrix.dense(active);
        for (const ColumnVariant* variant : column_variants()) {
          if (!core::cpu_has(variant->isa)) continue;
          for (const int64_t piece : {16, 48, 1024}) {
            const std::vector<float> found = matrix.run(*variant, active, piece);
            ASSERT_EQ(std::memcmp(found.data(), wanted.data(), wanted.size() * sizeof(float)), 0)
                << name << " " << outputs << " x " << inputs << ", " << active.size() << " inputs, "
                << core::isa_name(variant->isa) << ", pieces of " << piece;
          }
        }
      }
    }
  }
}

TEST(Columns, AreDecodedAsTheRowsThatTheyWereMadeOf) {
  for (const char* name : kCodecs) {
    const Matrix matrix(name, 37, 160, 5);
    const int64_t row_bytes = matrix.codec.format.row_bytes(160);
    std::vector<float> rows(48 * 160, 0.0F);
    for (int64_t o = 0; o < 37; ++o)
      matrix.codec.decode(matrix.rows.data() + o * row_bytes, 160, rows.data() + o * 160);
    for (const ColumnVariant* variant : column_variants()) {
      if (!core::cpu_has(variant->isa)) continue;
      for (const auto& [output, input] : {std::pair<int64_t, int64_t>{0, 0}, {16, 32}, {32, 96}}) {
        std::vector<float> found(64 * 16);
        variant->widen(matrix.layout, matrix.columns.data(), {.output = output, .input = input, .inputs = 64},
                       found.data());
        for (int64_t i = 0; i < 64; ++i) {
          for (int64_t o = 0; o < 16; ++o) {
            ASSERT_EQ(found[static_cast<size_t>(16 * i + o)], rows[static_cast<size_t>((output + o) * 160 + input + i)])
                << name << ", " << core::isa_name(variant->isa) << ", output " << output + o << ", input " << input + i;
          }
        }
      }
    }
  }
}

TEST(Columns, ReadNothingOfInputsThatAreLeftOut) {
  Matrix matrix("f32", 20, 40, 3);
  const std::vector<int32_t> active = matrix.choose(0.8F);
  ASSERT_LT(active.size(), matrix.x.size());
  const std::vector<float> before = matrix.run(*column_variants().front(), active, 1024);
  for (int32_t i = 0; i < 40; ++i) {
    if (std::ranges::find(active, i) != active.end()) continue;
    std::memset(matrix.columns.data() + i * matrix.layout.column_bytes(), 0xff,
                static_cast<size_t>(matrix.layout.column_bytes()));  // NaN
    matrix.x[static_cast<size_t>(i)] = std::nanf("");
  }
  for (const ColumnVariant* variant : column_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    EXPECT_EQ(matrix.run(*variant, active, 1024), before);
  }
}

TEST(Columns, HoldFormatsWhoseNumbersAreWholeBytes) {
  for (const char* name : kCodecs) {
    EXPECT_TRUE(lies_by_input(*codec::find_codec(name)));
    EXPECT_TRUE(weight_layout(*codec::find_codec(name), 16, 64, false, 5).value().by_input);
  }
  for (const char* name : {"q4_k", "q4_0", "f8_e4m3"}) {
    EXPECT_FALSE(lies_by_input(*codec::find_codec(name)));
    EXPECT_FALSE(weight_layout(*codec::find_codec(name), 16, 256, false, 5).value().by_input);
  }
}

}  // namespace
}  // namespace lamina::kernels

#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "core/memory.h"
#include "emulated_amx.h"
#include "kernels/quantize.h"
#include "kernels/ref/linear.h"
#include "test_codecs.h"

namespace lamina::kernels {
namespace {

using testing::random_blocks;
using testing::test_codec;
using testing::TestCodec;

enum class Input { kNormal, kExtreme };

core::AlignedBuffer buffer(int64_t bytes) {
  return core::AlignedBuffer::allocate(static_cast<size_t>(bytes)).value();
}

/// A matrix with rows of activations, packed for one variant.
struct Case {
  const TestCodec* codec = nullptr;
  WeightLayout layout;
  std::vector<std::byte> rows;
  core::AlignedBuffer packed;
  core::AlignedBuffer activations;
  int64_t count = 0;
  std::vector<float> bias;

  Case(const LinearVariant& variant, std::string_view name, int64_t outputs, int64_t inputs, int64_t row_count,
       Input input = Input::kNormal, uint32_t seed = 1)
      : codec(&test_codec(name)), count(row_count) {
    std::mt19937 random(seed);
    const bool exact = variant.activation == InputForm::kFloat && name != "toy";
    const int64_t kept = variant.activation == InputForm::kLargest ? inputs / 2 + 1 : 0;
    layout = weight_layout(codec->codec, outputs, inputs, exact, kept).value();
    layout.variant = &variant;
    rows = random_blocks(*codec, outputs * inputs, random, input == Input::kExtreme);
    packed = buffer(layout.bytes());
    std::memset(packed.data(), 0xff, packed.size());
    pack_panels(layout, rows.data(), 0, layout.panels, packed.data());
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(row_count * inputs));
    for (float& value : x) {
      value = input == Input::kExtreme ? (random() % 2 == 0 ? -3.0F : 3.0F) : normal(random) * std::exp(normal(random));
    }
    const ActivationLayout form = activation_layout(layout);
    activations = buffer(form.row_bytes * row_count);
    quantize_rows(form, x.data(), inputs, row_count, activations.data());
    bias.resize(static_cast<size_t>(outputs));
    for (float& value : bias) value = normal(random);
  }

  LinearArgs args(std::vector<float>& y, int64_t stride) const {
    LinearArgs args;
    args.layout = &layout;
    args.packed = packed.data();
    args.panel_end = layout.panels;
    args.activations = activations.data();
    args.rows = count;
    args.y = y.data();
    args.y_stride = stride;
    return args;
  }
};

/// Runs with scratch full of NaN.
void run(LinearArgs args) {
  core::AlignedBuffer scratch = buffer(linear_scratch_bytes(*args.layout, args.rows));
  std::memset(scratch.data(), 0xff, scratch.size());
  args.scratch = scratch.data();
  linear(args);
}

constexpr float kUntouched = 12345.0F;

std::vector<float> result(const Case& test, bool with_bias, bool accumulate) {
  const int64_t stride = test.layout.outputs + 3;
  std::vector<float> y(static_cast<size_t>(test.count * stride), kUntouched);
  LinearArgs args = test.args(y, stride);
  args.bias = with_bias ? test.bias.data() : nullptr;
  args.accumulate = accumulate;
  run(args);
  return y;
}

std::vector<float> expected(const Case& test, bool with_bias, bool accumulate) {
  const int64_t stride = test.layout.outputs + 3;
  std::vector<float> y(static_cast<size_t>(test.count * stride), kUntouched);
  LinearArgs args = test.args(y, stride);
  args.bias = with_bias ? test.bias.data() : nullptr;
  args.accumulate = accumulate;
  ref::linear(args, test.rows.data());
  return y;
}

/// Bits, so that NaN equals itself.
::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) && !(std::isnan(a[i]) && std::isnan(b[i]))) {
      return ::testing::AssertionFailure() << "at " << i << ": " << a[i] << " against " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

struct Param {
  const LinearVariant* variant;
  std::string_view codec;
  bool emulated = false;
};

void PrintTo(const Param& param, std::ostream* out) {
  *out << param.codec << " " << core::isa_name(param.variant->isa) << (param.emulated ? " emulated" : "");
}

std::vector<Param> params() {
  std::vector<Param> all;
  for (const LinearVariant& variant : linear_variants()) {
    if (variant.codec == "*") {
      all.push_back({&variant, "toy"});
      all.push_back({&variant, "q5_0"});
    } else {
      all.push_back({&variant, variant.codec});
    }
  }
  for (const auto rows : {testing::emulated_block_amx(), testing::emulated_super_amx()}) {
    for (const LinearVariant& variant : rows) all.push_back({&variant, variant.codec, true});
  }
  return all;
}

class LinearTest : public ::testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    const core::Isa needed = GetParam().emulated ? testing::kEmulatorNeeds : variant().isa;
    if (!core::isa_allowed(needed)) GTEST_SKIP() << "no " << core::isa_name(needed) << " here";
  }
  const LinearVariant& variant() const { return *GetParam().variant; }
  std::string_view codec() const { return GetParam().codec; }
  /// Widths in whole blocks: one, odd counts, and tails after a chunk of 256.
  std::vector<int64_t> widths() const {
    const int64_t block = test_codec(codec()).codec.format.block_elements;
    if (block == 1) return {1, 7, 255, 300, 576};
    if (block == 256) return {256, 768};
    return {block, 3 * block, 9 * block, 18 * block};
  }
};

TEST_P(LinearTest, MatchesReferenceOnAllRowCounts) {
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 15, 16, 17, 33}) {
    for (const int64_t width : widths()) {
      const Case test(variant(), codec(), 40, width, rows, Input::kNormal, static_cast<uint32_t>(rows + width));
      ASSERT_TRUE(same_bits(result(test, false, false), expected(test, false, false)))
          << rows << " rows, " << width << " inputs";
    }
  }
}

TEST_P(LinearTest, MatchesReferenceOnAllOutputCounts) {
  for (const int64_t outputs : {1, 15, 16, 17, 31, 32, 48, 65, 81, 144}) {
    for (const int64_t rows : {1, 3, 19}) {
      const Case test(variant(), codec(), outputs, widths().back(), rows);
      ASSERT_TRUE(same_bits(result(test, true, false), expected(test, true, false))) << outputs << " outputs";
      ASSERT_TRUE(same_bits(result(test, true, true), expected(test, true, true))) << outputs << " outputs";
      ASSERT_TRUE(same_bits(result(test, false, true), expected(test, false, true))) << outputs << " outputs";
    }
  }
}

TEST_P(LinearTest, ExtremeNumbersStayExact) {
  for (const uint32_t seed : {1U, 2U, 3U}) {
    for (const int64_t rows : {1, 8, 20}) {
      const Case test(variant(), codec(), 32, widths().back(), rows, Input::kExtreme, seed);
      ASSERT_TRUE(same_bits(result(test, false, false), expected(test, false, false))) << rows << " rows";
    }
  }
}

TEST_P(LinearTest, RowsDoNotDependOnEachOther) {
  const Case test(variant(), codec(), 50, widths().back(), 523);
  const std::vector<float> together = result(test, false, false);
  const int64_t row_bytes = activation_layout(test.layout).row_bytes;
  for (int64_t r = 0; r < test.count; r += r < 40 || r > 505 ? 1 : 41) {
    std::vector<float> alone(50);
    LinearArgs args = test.args(alone, 50);
    args.rows = 1;
    args.activations += r * row_bytes;
    run(args);
    ASSERT_EQ(std::memcmp(alone.data(), together.data() + r * 53, 50 * sizeof(float)), 0) << "row " << r;
  }
}

TEST_P(LinearTest, PanelSplitsDoNotMatter) {
  const Case test(variant(), codec(), 16 * 9 - 5, widths().back(), 7);
  const std::vector<float> whole = result(test, true, false);
  for (const int64_t parts : {2, 3, 5, 9}) {
    std::vector<float> y(whole.size(), kUntouched);
    for (int64_t part = 0; part < parts; ++part) {
      LinearArgs args = test.args(y, test.layout.outputs + 3);
      args.bias = test.bias.data();
      args.panel_begin = test.layout.panels * part / parts;
      args.panel_end = test.layout.panels * (part + 1) / parts;
      run(args);
    }
    ASSERT_TRUE(same_bits(y, whole)) << parts << " parts";
  }
}

TEST_P(LinearTest, PoisonInOneRowStaysThere) {
  Case test(variant(), codec(), 20, widths().back(), 9);
  const std::vector<float> clean = result(test, false, false);
  const ActivationLayout form = activation_layout(test.layout);
  std::vector<float> x(static_cast<size_t>(form.inputs), 1.0F);
  x[static_cast<size_t>(form.inputs / 2)] = std::numeric_limits<float>::infinity();
  x[0] = std::numeric_limits<float>::quiet_NaN();
  quantize_rows(form, x.data(), form.inputs, 1, test.activations.data() + 4 * form.row_bytes);
  std::vector<float> poisoned = result(test, false, false);
  for (size_t o = 0; o < 20; ++o) {
    EXPECT_TRUE(std::isnan(poisoned[4 * 23 + o]));
    poisoned[4 * 23 + o] = clean[4 * 23 + o];
  }
  EXPECT_TRUE(same_bits(poisoned, clean));
}

TEST_P(LinearTest, DecodesRowsFromPanels) {
  const Case test(variant(), codec(), 37, widths().back(), 1);
  const auto inputs = static_cast<size_t>(test.layout.inputs);
  std::vector<float> decoded(inputs);
  std::vector<float> wanted(inputs);
  const int64_t row_bytes = test.codec->codec.format.row_bytes(test.layout.inputs);
  for (int64_t o = 0; o < 37; ++o) {
    decode_row(test.layout, test.packed.data(), o, decoded.data());
    test.codec->codec.decode(test.rows.data() + o * row_bytes, test.layout.inputs, wanted.data());
    ASSERT_EQ(decoded, wanted) << "output " << o;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, LinearTest, ::testing::ValuesIn(params()), [](const auto& info) {
  std::string name = std::string(info.param.codec) + "_" + std::string(core::isa_name(info.param.variant->isa)) +
                     (info.param.variant->codec == "*" ? "_decoded" : "") +
                     (info.param.variant->activation == InputForm::kBf16 ? "_pairs" : "") +
                     (info.param.variant->activation == InputForm::kLargest ? "_largest" : "") +
                     (info.param.emulated ? "_emulated" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

/// An odd integer of 24 bits plus a product (1 - 2^-k)(1 + 2^-k) / 2: so near the middle between two floats that a sum
/// rounded to double first lands on it and then goes wrong.
TEST(LinearRounding, FloatSumsAreRoundedOnce) {
  for (const LinearVariant& variant : linear_variants()) {
    if (variant.codec != "f32" || !core::isa_allowed(variant.isa)) continue;
    Case test(variant, "f32", 16, 2, 1);
    std::mt19937 random(5);
    for (int round = 0; round < 500; ++round) {
      const float crumb = std::ldexp(1.0F, -13 - static_cast<int>(random() % 12));
      const std::array<float, 2> x{1.0F, 1.0F + crumb};
      for (int64_t o = 0; o < 16; ++o) {
        const auto odd = static_cast<float>((random() & 0x7fffffU) | 0x800001U);
        const std::array<float, 2> w{o % 3 == 0 ? -odd : odd, (o % 2 == 0 ? 0.5F : -0.5F) * (1.0F - crumb)};
        std::memcpy(test.rows.data() + o * 8, w.data(), 8);
      }
      std::memcpy(test.activations.data(), x.data(), 8);
      pack_panels(test.layout, test.rows.data(), 0, 1, test.packed.data());
      ASSERT_TRUE(same_bits(result(test, false, false), expected(test, false, false))) << core::isa_name(variant.isa);
    }
  }
}

/// Quantized activations times decoded weights, in double: how far the integer families may be from the truth.
TEST(LinearAccuracy, IntegerFamiliesStayNearTheFloatProduct) {
  for (const TestCodec& codec : testing::test_codecs()) {
    const WeightLayout layout = weight_layout(codec.codec, 16, 768).value();
    const Case test(*layout.variant, codec.codec.format.name, 16, 768, 1);
    const std::vector<float> y = result(test, false, false);
    std::mt19937 random(1);
    random_blocks(codec, 16 * 768, random);
    std::normal_distribution<float> normal;
    std::vector<float> x(768);
    for (float& value : x) value = normal(random) * std::exp(normal(random));
    std::vector<float> w(768);
    for (size_t o = 0; o < 16; ++o) {
      codec.codec.decode(test.rows.data() + static_cast<int64_t>(o) * codec.codec.format.row_bytes(768), 768, w.data());
      double sum = 0;
      double bound = 1e-30;  // half a step of each block, against the weights
      const int64_t block = std::max<int64_t>(activation_block(layout.activation), 1);
      for (int64_t b = 0; b < 768; b += block) {
        float amax = 0;
        for (int64_t k = b; k < b + block; ++k) amax = std::max(amax, std::abs(x[static_cast<size_t>(k)]));
        for (int64_t k = b; k < b + block; ++k) {
          const double product = double{w[static_cast<size_t>(k)]} * double{x[static_cast<size_t>(k)]};
          sum += product;
          bound += 768 * 6e-8 * std::abs(product);
          if (block > 1) bound += std::abs(double{w[static_cast<size_t>(k)]}) * double{amax} * 0.5002 / 127;
          if (layout.activation == InputForm::kBf16) bound += 0x1p-8 * std::abs(product);
        }
      }
      EXPECT_NEAR(double{y[o]}, sum, bound) << codec.codec.format.name << " output " << o;
    }
  }
}

TEST(LinearLayout, NeedsNoMoreThanTheFileButForWiderScales) {
  for (const TestCodec& codec : testing::test_codecs()) {
    const core::NumberFormat& format = codec.codec.format;
    const std::array wide{"mxfp4", "iq4_xs", "iq3_xxs", "iq2_xs", "iq2_xxs"};
    const bool wider = std::find(wide.begin(), wide.end(), format.name) != wide.end();
    const WeightLayout layout = weight_layout(codec.codec, 32, 768).value();
    EXPECT_GE(layout.bytes(), 32 * format.row_bytes(768)) << format.name;
    EXPECT_LE(layout.bytes() * 100, 32 * format.row_bytes(768) * (wider ? 107 : 100)) << format.name;
  }
}

TEST(LinearLayout, RefusesBrokenBlocksAndEmptyMatrices) {
  const codec::Codec& codec = test_codec("q4_k").codec;
  EXPECT_FALSE(weight_layout(codec, 16, 576).has_value());
  EXPECT_FALSE(weight_layout(codec, 0, 256).has_value());
  EXPECT_NE(weight_layout(codec, 16, 576).error().message.find("multiple of 256"), std::string::npos);
  EXPECT_FALSE(weight_layout(codec, 16, 256, false, 257).has_value());
}

// What cannot lie input by input is decoded at use, and its products are those of float32 rows with zeros in them.
TEST(LinearLayout, KeepsTheLargestInputsOfFormatsThatStayInRows) {
  for (const char* name : {"q4_0", "q6_k"}) {
    const WeightLayout largest = weight_layout(test_codec(name).codec, 40, 768, false, 300).value();
    EXPECT_FALSE(largest.by_input);
    for (const int64_t rows : {1, 20}) {
      Case test(*largest.variant, name, 40, 768, rows);
      test.layout = largest;
      const ActivationLayout form = activation_layout(largest);
      test.packed = buffer(largest.bytes());
      pack_panels(largest, test.rows.data(), 0, largest.panels, test.packed.data());
      std::vector<float> x(static_cast<size_t>(rows * 768));
      std::mt19937 random(3);
      std::normal_distribution<float> normal;
      for (float& value : x) value = normal(random);
      test.activations = buffer(form.row_bytes * rows);
      quantize_rows(form, x.data(), 768, rows, test.activations.data());
      EXPECT_TRUE(same_bits(result(test, true, false), expected(test, true, false))) << name;
    }
  }
}

TEST(LinearLayout, ExactKeepsFloatActivations) {
  const WeightLayout layout = weight_layout(test_codec("q4_0").codec, 16, 64, true).value();
  EXPECT_EQ(layout.activation, InputForm::kFloat);
  EXPECT_EQ(activation_layout(layout).row_bytes, 64 * 4);
}

TEST(LinearTable, EveryFormatHasAPortableRow) {
  for (const LinearVariant& variant : linear_variants()) {
    bool portable = false;
    for (const LinearVariant& other : linear_variants()) {
      portable = portable || (other.codec == variant.codec && other.isa == core::Isa::kScalar);
    }
    EXPECT_TRUE(portable) << variant.codec;
  }
}

}  // namespace
}  // namespace lamina::kernels

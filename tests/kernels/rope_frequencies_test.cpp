#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/rope.h"

/// Expected numbers: modeling_rope_utils.ROPE_INIT_FUNCTIONS of the transformers library, which works in float32.
namespace lamina::kernels {
namespace {

void expect_frequencies(const RopeOptions& options, const std::vector<float>& expected, double attention_factor) {
  const auto rope = rope_frequencies(options);
  ASSERT_TRUE(rope.has_value()) << rope.error().text();
  ASSERT_EQ(rope->frequencies.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(rope->frequencies[i], expected[i], 1e-6 * static_cast<double>(expected[i])) << i;
  }
  EXPECT_NEAR(rope->attention_factor, attention_factor, 1e-6);
}

TEST(RopeFrequencies, Linear) {
  RopeOptions options;
  options.rotary = 16;
  options.scaling = "linear";
  options.factor = 4;
  expect_frequencies(options,
                     {0.25F, 0.079056941F, 0.0250000004F, 0.00790569466F, 0.00249999994F, 0.000790569466F,
                      0.000250000012F, 7.90569466e-05F},
                     1.0);
}

TEST(RopeFrequencies, Llama3) {
  RopeOptions options;
  options.rotary = 64;
  options.base = 500000;
  options.scaling = "llama3";
  options.factor = 8;
  options.original_context = 8192;
  expect_frequencies(options,
                     {1.0F,
                      0.663601279F,
                      0.440366626F,
                      0.292227834F,
                      0.193922758F,
                      0.128687382F,
                      0.0853971019F,
                      0.0566696189F,
                      0.0376060307F,
                      0.0249554086F,
                      0.0165604409F,
                      0.0109895291F,
                      0.00729266508F,
                      0.00483942125F,
                      0.00321144611F,
                      0.00137189368F,
                      0.000524846022F,
                      0.000178507791F,
                      7.78465546e-05F,
                      5.16590699e-05F,
                      3.42810235e-05F,
                      2.2748929e-05F,
                      1.50962178e-05F,
                      1.00178686e-05F,
                      6.64786967e-06F,
                      4.41153452e-06F,
                      2.92749974e-06F,
                      1.94269251e-06F,
                      1.28917316e-06F,
                      8.55496921e-07F,
                      5.6770881e-07F,
                      3.7673226e-07F},
                     1.0);
}

TEST(RopeFrequencies, YarnWithFractionalRange) {
  RopeOptions options;
  options.rotary = 64;
  options.base = 150000;
  options.scaling = "yarn";
  options.factor = 32;
  options.original_context = 4096;
  options.truncate = false;
  expect_frequencies(options,
                     {1.0F,
                      0.689044297F,
                      0.47478205F,
                      0.327145875F,
                      0.225418001F,
                      0.155322984F,
                      0.107024424F,
                      0.0737445652F,
                      0.0508132726F,
                      0.0317056961F,
                      0.0193349998F,
                      0.0115920492F,
                      0.00679495931F,
                      0.00386035908F,
                      0.00209379266F,
                      0.00105260219F,
                      0.000456483918F,
                      0.000129318694F,
                      3.83088118e-05F,
                      2.63964685e-05F,
                      1.8188337e-05F,
                      1.25325696e-05F,
                      8.63549576e-06F,
                      5.95023948e-06F,
                      4.09997847e-06F,
                      2.82506676e-06F,
                      1.94659629e-06F,
                      1.34129095e-06F,
                      9.24208962e-07F,
                      6.36820914e-07F,
                      4.38797855e-07F,
                      3.0235114e-07F},
                     1.3465735902799727);
  options.attention_factor = 1.25;
  EXPECT_EQ(rope_frequencies(options)->attention_factor, 1.25F);
}

TEST(RopeFrequencies, YarnWithTwoScales) {
  RopeOptions options;
  options.rotary = 32;
  options.scaling = "yarn";
  options.factor = 40;
  options.original_context = 4096;
  options.mscale = 0.707;
  options.mscale_all_dim = 1.0;
  expect_frequencies(options,
                     {1.0F, 0.562341332F, 0.316227764F, 0.177827939F, 0.100000001F, 0.0562341288F, 0.0272181761F,
                      0.0128290169F, 0.00582142826F, 0.00249036867F, 0.000959977158F, 0.000292145909F, 2.49999994e-05F,
                      1.40585325e-05F, 7.90569447e-06F, 4.44569832e-06F},
                     0.9210423553163399);
}

TEST(RopeFrequencies, Longrope) {
  RopeOptions options;
  options.rotary = 16;
  options.scaling = "longrope";
  options.factor = 32;
  options.original_context = 4096;
  options.factors = {1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0};
  expect_frequencies(options,
                     {1.0F, 0.210818499F, 0.0500000007F, 0.00790569466F, 0.00124999997F, 0.000197642366F,
                      3.12500015e-05F, 4.94105916e-06F},
                     1.1902380714238083);
}

TEST(RopeFrequencies, FactorsDivideAnyScaling) {
  RopeOptions options;
  options.rotary = 4;
  options.factors = {1.0, 8.0};
  expect_frequencies(options, {1.0F, 0.01F / 8}, 1.0);
}

TEST(RopeFrequencies, ImpossibleOptionsAreErrors) {
  RopeOptions options;
  options.rotary = 7;
  EXPECT_EQ(rope_frequencies(options).error().code, core::ErrorCode::kInvalid);
  options.rotary = 8;
  options.scaling = "dynamic";
  EXPECT_EQ(rope_frequencies(options).error().code, core::ErrorCode::kUnsupported);
  options.scaling = "llama3";
  EXPECT_EQ(rope_frequencies(options).error().code, core::ErrorCode::kInvalid);
  options.scaling = "longrope";
  EXPECT_EQ(rope_frequencies(options).error().code, core::ErrorCode::kInvalid);
  options.scaling = "default";
  options.factors = {1.0};
  EXPECT_EQ(rope_frequencies(options).error().code, core::ErrorCode::kInvalid);
  options.factors.clear();
  options.base = std::nan("");
  EXPECT_EQ(rope_frequencies(options).error().code, core::ErrorCode::kInvalid);
}

}  // namespace
}  // namespace lamina::kernels

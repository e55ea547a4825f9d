// Searches with weights: they lower the weighted error, and equal weights change nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "codec/codec.h"
#include "codec/encode.h"

namespace lamina::codec {
namespace {

constexpr int64_t kElements = 2048;

std::vector<float> random_row(unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> row(kElements);
  for (float& value : row) value = normal(random) * 0.05f;
  return row;
}

std::vector<const Codec*> weighted_codecs() {
  std::vector<const Codec*> found;
  for (const Codec& codec : codecs()) {
    if (codec.encode_weighted != nullptr) found.push_back(&codec);
  }
  return found;
}

double weighted_error(const Codec& codec, const std::vector<float>& row, const std::vector<float>& weights,
                      const std::vector<std::byte>& blocks) {
  std::vector<float> decoded(row.size());
  codec.decode(blocks.data(), kElements, decoded.data());
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) sum += double{weights[i]} * std::pow(double{row[i]} - double{decoded[i]}, 2);
  return sum;
}

TEST(WeightedEncode, KnowsTheFormatsThatCompressionNeeds) {
  std::vector<std::string_view> names;
  for (const Codec* codec : weighted_codecs()) names.push_back(codec->format.name);
  for (const char* name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_xs",
                           "iq4_nl", "iq3_s", "iq3_xxs", "iq2_s", "mxfp4", "nvfp4", "cb2"})
    EXPECT_NE(std::ranges::find(names, name), names.end()) << name;
}

TEST(WeightedEncode, LowersTheWeightedErrorOfEveryFormat) {
  for (const Codec* codec : weighted_codecs()) {
    double plain = 0;
    double searched = 0;
    for (unsigned seed = 0; seed < 8; ++seed) {
      const std::vector<float> row = random_row(seed);
      std::vector<float> weights = random_row(100 + seed);
      for (float& weight : weights) weight = std::exp(40 * weight);  // some inputs count a thousand times others
      std::vector<std::byte> blocks(static_cast<size_t>(codec->format.row_bytes(kElements)));
      codec->encode(row.data(), kElements, blocks.data());
      plain += weighted_error(*codec, row, weights, blocks);
      codec->encode_weighted(row.data(), weights.data(), kElements, blocks.data());
      searched += weighted_error(*codec, row, weights, blocks);
    }
    // A power of two for a scale leaves little to choose.
    const double share = codec->format.name == "mxfp4" ? 0.95 : 0.9;
    EXPECT_LT(searched, share * plain) << codec->format.name;
  }
}

TEST(WeightedEncode, EqualWeightsChangeNothingInFormatsThatAlwaysSearch) {
  const std::vector<float> row = random_row(7);
  const std::vector<float> weights(row.size(), 1.0f);
  for (const char* name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "iq4_nl", "iq3_s", "iq3_xxs", "iq2_s",
                           "mxfp4", "nvfp4", "cb2"}) {
    const Codec* codec = find_codec(name);
    std::vector<std::byte> plain(static_cast<size_t>(codec->format.row_bytes(kElements)));
    std::vector<std::byte> weighted(plain.size());
    codec->encode(row.data(), kElements, plain.data());
    codec->encode_weighted(row.data(), weights.data(), kElements, weighted.data());
    EXPECT_EQ(plain, weighted) << name;
  }
}

TEST(WeightedEncode, InputsThatCalibrationNeverSawAreKeptAllTheSame) {
  const std::vector<float> row = random_row(9);
  std::vector<float> importance(row.size(), 0.0f);
  for (size_t i = 0; i < importance.size(); i += 2) importance[i] = 1;
  const Codec* codec = find_codec("q4_k");
  std::vector<std::byte> blocks(static_cast<size_t>(codec->format.row_bytes(kElements)));
  std::vector<float> decoded(row.size());
  double error = 0;
  const RowFault fault =
      encode_row(*codec, row.data(), kElements, blocks.data(), decoded.data(), error, importance.data());
  EXPECT_EQ(fault.kind, RowFault::Kind::kNone);
  double seen = 0;
  double unseen = 0;
  for (size_t i = 0; i < row.size(); ++i)
    (i % 2 == 0 ? seen : unseen) += std::pow(double{row[i]} - double{decoded[i]}, 2);
  EXPECT_LT(seen, unseen);
  EXPECT_LT(unseen, 20 * seen);
}

}  // namespace
}  // namespace lamina::codec

#include "codec/codec.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "codec/encode.h"
#include "codec/fallback.h"
#include "codec/half.h"
#include "support/source_dir.h"

namespace lamina::codec {
namespace {

// Golden files and their generators are described in tools/make_codec_golden.py.
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;
constexpr int64_t kRandomBlocks = 2048;
constexpr int64_t kRandomNumbers = 1 << 17;

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

std::vector<uint64_t> words(uint64_t seed, int64_t count) {
  std::vector<uint64_t> all(static_cast<size_t>(count));
  for (size_t k = 0; k < all.size(); ++k) all[k] = mix(seed + (k + 1) * kGolden);
  return all;
}

template <typename Words>
std::string digest(const Words& all) {
  uint64_t sum = 0;
  uint64_t step = 0;
  for (const auto word : all) sum += mix(uint64_t{word} + (step += kGolden));
  return fmt::format("{:016x}", sum);
}

std::string float_digest(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value));
  return digest(bits);
}

std::vector<std::byte> random_bytes(uint64_t seed, int64_t count) {
  const auto all = words(seed, (count + 7) / 8);
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  std::memcpy(bytes.data(), all.data(), bytes.size());
  return bytes;
}

std::vector<float> random_floats(uint64_t seed, int64_t count) {
  std::vector<float> values;
  for (const uint64_t word : words(seed, count)) {
    const uint64_t exponent = 107 + (word >> 32) % 32;
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>((word & 0x807fffffu) | exponent << 23)));
  }
  return values;
}

std::vector<std::byte> golden(const std::string& name) {
  std::ifstream file(source_dir() / "tests/golden/codec" / name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

const nlohmann::json& hashes() {
  static const nlohmann::json all = [] {
    const auto bytes = golden("hashes.json");
    return nlohmann::json::parse(reinterpret_cast<const char*>(bytes.data()),
                                 reinterpret_cast<const char*>(bytes.data()) + bytes.size());
  }();
  return all;
}

std::vector<float> as_floats(const std::byte* bytes, size_t count) {
  std::vector<float> values(count);
  std::memcpy(values.data(), bytes, count * sizeof(float));
  return values;
}

std::vector<float> decode(const Codec& codec, const std::byte* blocks, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count * codec.format.block_elements));
  codec.decode(blocks, static_cast<int64_t>(values.size()), values.data());
  return values;
}

std::vector<uint8_t> encode(const Codec& codec, const std::vector<float>& values) {
  std::vector<uint8_t> bytes(static_cast<size_t>(codec.format.row_bytes(static_cast<int64_t>(values.size()))));
  codec.encode(values.data(), static_cast<int64_t>(values.size()), reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

TEST(CodecTable, FindsEachRowByNameTypeAndFormat) {
  for (const Codec& codec : codecs()) {
    EXPECT_EQ(find_codec(codec.format.name), &codec);
    EXPECT_EQ(codec_of(codec.format), &codec);
    if (codec.gguf_type < 0) continue;  // GGUF has no such type
    EXPECT_EQ(find_codec_by_gguf_type(static_cast<uint32_t>(codec.gguf_type)), &codec);
  }
  EXPECT_EQ(find_codec("q4_K"), nullptr);
  EXPECT_EQ(find_codec_by_gguf_type(0xffffffffu), nullptr);
  EXPECT_EQ(codec_of(core::NumberFormat{"f32", 1, 4}), nullptr) << "only rows of the table have a codec";
}

TEST(CodecDecode, EqualsTheReferenceBitForBitOnPickedBlocks) {
  for (const Codec& codec : codecs()) {
    SCOPED_TRACE(codec.format.name);
    const auto bytes = golden(std::string(codec.format.name) + ".decode");
    ASSERT_GE(bytes.size(), 4u);
    uint32_t count = 0;
    std::memcpy(&count, bytes.data(), 4);
    const size_t elements = count * static_cast<size_t>(codec.format.block_elements);
    const size_t block_bytes = count * static_cast<size_t>(codec.format.block_bytes);
    ASSERT_EQ(bytes.size(), 4 + block_bytes + elements * 4);
    const auto wanted = as_floats(bytes.data() + 4 + block_bytes, elements);
    const auto found = decode(codec, bytes.data() + 4, count);
    for (size_t i = 0; i < elements; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(wanted[i]))
          << "element " << i << ": " << found[i] << ", reference " << wanted[i];
    }
  }
}

// Random bytes include infinite and NaN scales.
TEST(CodecDecode, EqualsTheReferenceOnRandomBlocks) {
  for (const Codec& codec : codecs()) {
    const auto blocks = random_bytes(2, kRandomBlocks * codec.format.block_bytes);
    EXPECT_EQ(float_digest(decode(codec, blocks.data(), kRandomBlocks)),
              hashes()[std::string(codec.format.name)]["decode"].get<std::string>())
        << codec.format.name;
  }
}

TEST(CodecDecode, DoesNotNeedAlignment) {
  for (const Codec& codec : codecs()) {
    const auto blocks = random_bytes(5, 3 * codec.format.block_bytes);
    std::vector<std::byte> shifted(blocks.size() + 1);
    std::memcpy(shifted.data() + 1, blocks.data(), blocks.size());
    EXPECT_EQ(float_digest(decode(codec, shifted.data() + 1, 3)), float_digest(decode(codec, blocks.data(), 3)));
  }
}

TEST(CodecDecode, ReadsEveryHalf) {
  std::vector<float> values;
  for (uint32_t half = 0; half < 65536; ++half) values.push_back(half_to_float(static_cast<uint16_t>(half)));
  EXPECT_EQ(float_digest(values), hashes()["f16"]["every_half"].get<std::string>());
}

TEST(CodecEncode, EqualsTheReferenceBitForBitOnPickedNumbers) {
  const auto input = golden("encode_input.f32");
  const auto values = as_floats(input.data(), input.size() / 4);
  int encoders = 0;
  for (const Codec& codec : codecs()) {
    if (!hashes()[std::string(codec.format.name)].contains("encode")) continue;
    const auto wanted = golden(std::string(codec.format.name) + ".encode");
    const auto found = encode(codec, values);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i], static_cast<uint8_t>(wanted[i]))
          << codec.format.name << " block " << i / static_cast<size_t>(codec.format.block_bytes) << " byte "
          << i % static_cast<size_t>(codec.format.block_bytes);
    }
    EXPECT_EQ(digest(encode(codec, random_floats(4, kRandomNumbers))),
              hashes()[std::string(codec.format.name)]["encode"].get<std::string>())
        << codec.format.name;
    ++encoders;
  }
  EXPECT_EQ(encoders, 9);
}

/// Rows of several kinds, and the root mean square error of ggml's own quantizers on them
/// (tools/make_encode_errors.py).
struct ErrorGolden {
  nlohmann::json all;
  std::vector<float> rows;
  size_t columns = 0;

  ErrorGolden() {
    const auto text = golden("errors.json");
    all = nlohmann::json::parse(reinterpret_cast<const char*>(text.data()),
                                reinterpret_cast<const char*>(text.data()) + text.size());
    const auto bytes = golden("rows.f32");
    rows = as_floats(bytes.data(), bytes.size() / 4);
    columns = all["columns"];
  }
  std::vector<float> row(size_t kind) const {
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(kind * columns);
    return {begin, begin + static_cast<std::ptrdiff_t>(columns)};
  }
};

std::vector<float> round_trip(const Codec& codec, const std::vector<float>& values) {
  const auto bytes = encode(codec, values);
  return decode(codec, reinterpret_cast<const std::byte*>(bytes.data()),
                static_cast<int64_t>(values.size()) / codec.format.block_elements);
}

double rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
  return std::sqrt(sum / static_cast<double>(a.size()));
}

/// Scales are f16: a row whose numbers are all alike can be met no better than its scale is rounded.
double scale_rounding(const std::vector<float>& row) {
  float peak = 0;
  for (const float value : row) peak = std::max(peak, std::fabs(value));
  return double{peak} * 0x1p-11;
}

TEST(CodecEncode, EachEncoderIsHeldAgainstAReference) {
  const ErrorGolden reference;
  for (const Codec& codec : codecs()) {
    const std::string name(codec.format.name);
    if (codec.encode == nullptr || name == "f32") continue;
    EXPECT_TRUE(reference.all["rmse"].contains(name) || hashes()[name].contains("encode")) << name;
  }
}

TEST(CodecEncode, SearchesErrNoMoreThanTheReference) {
  const ErrorGolden reference;
  for (const auto& [name, errors] : reference.all["rmse"].items()) {
    const Codec* codec = find_codec(name);
    ASSERT_NE(codec, nullptr) << name;
    ASSERT_NE(codec->encode, nullptr) << name;
    for (size_t kind = 0; kind < errors.size(); ++kind) {
      const std::vector<float> row = reference.row(kind);
      const double allowed = std::max(errors[kind].get<double>() * 1.0001, scale_rounding(row));
      EXPECT_LE(rms(row, round_trip(*codec, row)), allowed) << name << ", " << reference.all["kinds"][kind];
    }
  }
}

// The searches need not find the very blocks again; what they find differs by less than half of what the first encoding
// lost, or by what the rounding of an f16 scale does.
TEST(CodecEncode, DecodedNumbersSurviveASecondEncoding) {
  const ErrorGolden reference;
  for (const Codec& codec : codecs()) {
    if (codec.encode == nullptr) continue;
    for (size_t kind = 0; kind < reference.all["kinds"].size(); ++kind) {
      const std::vector<float> row = reference.row(kind);
      const std::vector<float> once = round_trip(codec, row);
      if (!std::isfinite(rms(once, row))) continue;  // too large for the format
      const bool rounds = !reference.all["rmse"].contains(std::string(codec.format.name));
      const double allowed =
          rounds && codec.format.block_elements == 1 ? 0 : std::max(0.5 * rms(row, once), 2 * scale_rounding(row));
      EXPECT_LE(rms(once, round_trip(codec, once)), allowed)
          << codec.format.name << ", " << reference.all["kinds"][kind];
    }
  }
}

TEST(CodecEncode, RowsNameTheNumberAtFault) {
  const Codec& f16 = *find_codec("f16");
  std::vector<float> row(256, 1.0F);
  std::vector<float> decoded(row.size());
  std::vector<std::byte> out(512);
  double error = 0;
  EXPECT_EQ(encode_row(f16, row.data(), 256, out.data(), decoded.data(), error).kind, RowFault::Kind::kNone);
  EXPECT_EQ(error, 0);
  row[7] = 1e6F;
  const RowFault large = encode_row(f16, row.data(), 256, out.data(), decoded.data(), error);
  EXPECT_EQ(large.kind, RowFault::Kind::kTooLarge);
  EXPECT_EQ(large.index, 7);
  EXPECT_EQ(large.what(f16.format), "is 1000000, too large for f16");
  row[3] = std::nanf("");
  const RowFault nan = encode_row(*find_codec("q4_k"), row.data(), 256, out.data(), decoded.data(), error);
  EXPECT_EQ(nan.kind, RowFault::Kind::kNotFinite);
  EXPECT_EQ(nan.index, 3);
}

TEST(CodecFallback, ChoosesBlocksOf32ThenF16) {
  const auto chosen = [](const char* name, int64_t columns) {
    const auto found = codec_for_rows(*find_codec(name), columns);
    return found ? std::string(found->codec->format.name) + (found->note.empty() ? "" : "!") : "error";
  };
  EXPECT_EQ(chosen("q4_k", 512), "q4_k");
  EXPECT_EQ(chosen("q4_k", 576), "q5_0!");
  EXPECT_EQ(chosen("q6_k", 576), "q8_0!");
  EXPECT_EQ(chosen("q2_k", 576), "iq4_nl!");
  EXPECT_EQ(chosen("q4_k", 100), "f16!");
  EXPECT_EQ(chosen("q8_0", 100), "f16!");
  EXPECT_EQ(chosen("bf16", 7), "bf16");
  EXPECT_EQ(chosen("iq2_s", 576), "iq4_nl!");
  EXPECT_EQ(chosen("iq2_xs", 256), "error") << "it has no encoder";
}

TEST(CodecEncode, RoundsAnyFloatToHalfAndBfloatLikeTheReference) {
  std::vector<uint32_t> halves;
  std::vector<uint32_t> bfloats;
  for (const uint64_t word : words(3, kRandomNumbers)) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(word));
    halves.push_back(std::isnan(value) ? 0x7e00u : float_to_half(value));
    bfloats.push_back(float_to_bfloat(value));
  }
  EXPECT_EQ(digest(halves), hashes()["f16"]["any_float"].get<std::string>());
  EXPECT_EQ(digest(bfloats), hashes()["bf16"]["any_float"].get<std::string>());
}

TEST(CodecEncode, HalvesSurviveTheRoundTrip) {
  for (uint32_t half = 0; half < 65536; ++half) {
    EXPECT_EQ(float_to_half(half_to_float(static_cast<uint16_t>(half))), half);
  }
}

TEST(CodecEncode, TiesOfSubnormalHalvesGoToEven) {
  EXPECT_EQ(float_to_half(0x1p-25f), 0);
  EXPECT_EQ(float_to_half(std::nextafter(0x1p-25f, 1.0f)), 1);
  EXPECT_EQ(float_to_half(0x3p-25f), 2);
  EXPECT_EQ(float_to_half(0x7ffp-25f), 0x400);
  EXPECT_EQ(float_to_half(65519.996f), 0x7bff);
  EXPECT_EQ(float_to_half(65520.0f), 0x7c00);
}

TEST(CodecEncode, NonFiniteNumbersDoNoHarm) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float odd : {kInf, -kInf, std::nanf(""), 3.4e38f, 1e-45f}) {
    std::vector<float> values(256, 1.0f);
    values[5] = odd;
    values[40] = -odd;
    for (const Codec& codec : codecs()) {
      if (codec.encode == nullptr) continue;
      EXPECT_FALSE(encode(codec, values).empty());
    }
  }
}

}  // namespace
}  // namespace lamina::codec

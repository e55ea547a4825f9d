// What code-by-code encoders may do with a block: read its scales, round to its numbers, replace its codes.
#include "codec/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

namespace lamina::codec {
namespace {

std::vector<const Codec*> codecs_with_grids() {
  std::vector<const Codec*> found;
  for (const Codec& codec : codecs()) {
    if (find_grid(codec) != nullptr) found.push_back(&codec);
  }
  return found;
}

/// Encoded blocks of random numbers, decoded, and the numbers.
struct Blocks {
  std::vector<float> numbers;
  std::vector<std::byte> bytes;
  std::vector<float> decoded;

  Blocks(const Codec& codec, unsigned seed, int64_t elements = 1024)
      : numbers(static_cast<size_t>(elements)),
        bytes(static_cast<size_t>(codec.format.row_bytes(elements))),
        decoded(numbers.size()) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& number : numbers) number = 0.1f * normal(random) + 0.02f;
    codec.encode(numbers.data(), elements, bytes.data());
    codec.decode(bytes.data(), elements, decoded.data());
  }
};

TEST(Grid, EveryFormatOfBlocksWithACodeForEachNumberHasOne) {
  std::vector<std::string_view> names;
  for (const Codec* codec : codecs_with_grids()) names.push_back(codec->format.name);
  for (const char* name : {"q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "q3_k", "q2_k", "iq4_xs",
                           "iq4_nl", "mxfp4", "nvfp4", "cb2"})
    EXPECT_NE(std::ranges::find(names, name), names.end()) << name;
  EXPECT_EQ(find_grid(*find_codec("f16")), nullptr);
  EXPECT_EQ(find_grid(*find_codec("iq3_s")), nullptr);
}

// Rounding what was decoded gives it back, and writing those codes changes no byte.
TEST(Grid, RoundsDecodedNumbersToThemselvesAndWritesTheSameBlock) {
  for (const Codec* codec : codecs_with_grids()) {
    SCOPED_TRACE(codec->format.name);
    const Grid& grid = *find_grid(*codec);
    Blocks blocks(*codec, 1);
    const auto size = static_cast<size_t>(codec->format.block_elements);
    for (size_t first = 0, at = 0; first < blocks.numbers.size();
         first += size, at += static_cast<size_t>(codec->format.block_bytes)) {
      BlockScales scales;
      grid.scales(blocks.bytes.data() + at, scales);
      std::vector<uint8_t> codes(size);
      std::vector<float> numbers(size);
      for (size_t i = 0; i < size; ++i) {
        const size_t group = i / static_cast<size_t>(scales.group);
        grid.round({.count = 1,
                    .wanted = &blocks.decoded[first + i],
                    .scales = &scales.scales[group],
                    .offsets = &scales.offsets[group],
                    .book = scales.book.data()},
                   &codes[i], &numbers[i]);
        ASSERT_EQ(std::bit_cast<uint32_t>(numbers[i] + 0.0f), std::bit_cast<uint32_t>(blocks.decoded[first + i] + 0.0f))
            << "number " << i;
      }
      std::vector<std::byte> written(
          blocks.bytes.begin() + static_cast<std::ptrdiff_t>(at),
          blocks.bytes.begin() + static_cast<std::ptrdiff_t>(at) + codec->format.block_bytes);
      grid.set_codes(written.data(), codes.data());
      std::vector<float> again(size);
      codec->decode(written.data(), codec->format.block_elements, again.data());
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(again[i], blocks.decoded[first + i]) << "number " << i;
    }
  }
}

// The numbers that round() names are those that the codec decodes from its codes, and none is nearer.
TEST(Grid, OtherCodesDecodeToTheNumbersThatItNames) {
  for (const Codec* codec : codecs_with_grids()) {
    SCOPED_TRACE(codec->format.name);
    const Grid& grid = *find_grid(*codec);
    Blocks blocks(*codec, 2, codec->format.block_elements);
    const auto size = static_cast<size_t>(codec->format.block_elements);
    BlockScales scales;
    grid.scales(blocks.bytes.data(), scales);
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<uint8_t> codes(size);
    std::vector<float> wanted(size);
    std::vector<float> numbers(size);
    for (size_t i = 0; i < size; ++i) {
      wanted[i] = 0.15f * normal(random);
      const size_t group = i / static_cast<size_t>(scales.group);
      grid.round({.count = 1,
                  .wanted = &wanted[i],
                  .scales = &scales.scales[group],
                  .offsets = &scales.offsets[group],
                  .book = scales.book.data()},
                 &codes[i], &numbers[i]);
    }
    grid.set_codes(blocks.bytes.data(), codes.data());
    codec->decode(blocks.bytes.data(), codec->format.block_elements, blocks.decoded.data());
    EXPECT_EQ(blocks.decoded, numbers);
    std::vector<uint8_t> others = codes;
    for (int shift = 1; shift < 256; ++shift) {
      for (size_t i = 0; i < size; ++i) others[i] = static_cast<uint8_t>(codes[i] ^ shift);
      const uint8_t highest =
          codec->format.name == "q8_0" ? 254 : static_cast<uint8_t>(*std::ranges::max_element(codes) | 1);
      if (*std::ranges::max_element(others) > highest) continue;
      grid.set_codes(blocks.bytes.data(), others.data());
      codec->decode(blocks.bytes.data(), codec->format.block_elements, blocks.decoded.data());
      for (size_t i = 0; i < size; ++i) {
        ASSERT_GE(std::fabs(blocks.decoded[i] - wanted[i]), std::fabs(numbers[i] - wanted[i]) * (1 - 1e-5f) - 1e-7f)
            << "number " << i << ", code " << int{others[i]} << " instead of " << int{codes[i]};
      }
    }
  }
}

}  // namespace
}  // namespace lamina::codec

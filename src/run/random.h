#pragma once

#include <array>
#include <cstdint>

namespace lamina::run {

/// Philox4x32-10: 128 random bits as a pure function of a counter and a key.
/// Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3 (SC11), section 3.3.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// 64 random bits for draw `step` of `seed`; different streams of one seed are independent.
constexpr uint64_t random_bits(uint64_t seed, uint64_t step, uint32_t stream = 0) {
  const std::array<uint32_t, 4> words =
      philox({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), stream, 0},
             {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return uint64_t{words[1]} << 32 | words[0];
}

/// A number in [0, 1), a multiple of 2^-53.
constexpr double random_unit(uint64_t seed, uint64_t step, uint32_t stream = 0) {
  return static_cast<double>(random_bits(seed, step, stream) >> 11) * 0x1p-53;
}

}  // namespace lamina::run

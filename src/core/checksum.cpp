#include "core/checksum.h"

#include <array>
#include <bit>
#include <cstring>

namespace lamina::core {

namespace {

constexpr size_t kLanes = 8;
constexpr size_t kStride = kLanes * sizeof(uint64_t);
constexpr uint64_t kFactor = 0x9e3779b97f4a7c15U;  // odd, so that multiplying loses nothing

uint64_t mix(uint64_t state, uint64_t word) {
  return std::rotl((state ^ word) * kFactor, 29);
}

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes) {
  std::array<uint64_t, kLanes> lanes{1, 2, 3, 4, 5, 6, 7, 8};
  const auto add = [&lanes](const std::byte* stride) {
    for (size_t i = 0; i < kLanes; ++i) {
      uint64_t word = 0;
      std::memcpy(&word, stride + i * sizeof(word), sizeof(word));
      lanes[i] = mix(lanes[i], word);
    }
  };
  const size_t whole = bytes.size() / kStride * kStride;
  for (size_t at = 0; at < whole; at += kStride) add(bytes.data() + at);
  if (const auto rest = bytes.subspan(whole); !rest.empty()) {
    std::array<std::byte, kStride> last{};
    std::memcpy(last.data(), rest.data(), rest.size());
    add(last.data());
  }
  uint64_t sum = bytes.size();
  for (const uint64_t lane : lanes) sum = mix(sum, lane);
  sum ^= sum >> 32;
  return sum * kFactor;
}

}  // namespace lamina::core

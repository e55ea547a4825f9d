#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace lamina::run {

/// Maps floats (no NaN) to integers of the same order; -0 and +0 become equal.
inline uint32_t order_key(float value) {
  const auto bits = std::bit_cast<uint32_t>(value + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

/// The last item that a selection keeps: all items with a larger key, and the first `ties` of those with this key.
struct Cut {
  uint32_t key = 0;
  size_t ties = 0;
};

/// Where to cut so that, taken by falling key and rising index, the fewest items reach `target` in the sum of
/// mass(index) >= 0. Keeps at least one item, and every item with mass if all together do not reach it.
/// A radix select: linear time, no sort, and all sums in index order, so the result depends on the input alone.
/// keys must not be empty.
template <typename Mass>
Cut find_cut(std::span<const uint32_t> keys, double target, Mass&& mass) {
  struct Digit {
    int shift;
    int bits;
  };
  static constexpr std::array<Digit, 3> kDigits{{{21, 11}, {10, 11}, {0, 10}}};
  double above = 0;
  uint32_t prefix = 0;
  uint32_t mask = 0;
  for (const Digit digit : kDigits) {
    const uint32_t size = 1u << digit.bits;
    std::array<double, 2048> sums{};
    std::array<bool, 2048> present{};
    for (size_t i = 0; i < keys.size(); ++i) {
      if ((keys[i] & mask) != prefix) continue;
      const uint32_t bucket = keys[i] >> digit.shift & (size - 1);
      sums[bucket] += mass(i);
      present[bucket] = true;
    }
    // The highest bucket that reaches the target; the lowest with mass (or else the highest of all) if none does.
    uint32_t chosen = size;
    double above_chosen = above;
    double passed = above;
    for (uint32_t bucket = size; bucket-- > 0;) {
      if (!present[bucket]) continue;
      if (chosen == size || sums[bucket] > 0) {
        chosen = bucket;
        above_chosen = passed;
      }
      passed += sums[bucket];
      if (passed >= target) break;
    }
    above = above_chosen;
    prefix |= chosen << digit.shift;
    mask |= (size - 1) << digit.shift;
  }
  Cut cut{.key = prefix};
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] != prefix) continue;
    above += mass(i);
    ++cut.ties;
    if (above >= target) break;
  }
  return cut;
}

}  // namespace lamina::run

#include "kernels/largest.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>

#include "kernels/quantize.h"

namespace lamina::kernels {

namespace {

constexpr int kBinBits = 11;  // of the exponent and the first bits of the fraction

/// Magnitudes compare as integers, and NaN above infinity.
uint32_t magnitude(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffU;
}

/// The magnitude of the number that comes last of those kept, and how many of that very magnitude are kept.
struct Least {
  uint32_t bits = 0;
  int64_t equal = 0;
};

/// Counts magnitudes in coarse bins, and sorts only those of the bin in which the least one lies. `spare` has room for
/// all inputs.
Least find_least(const float* x, int64_t inputs, int64_t kept, uint32_t* spare) {
  std::array<int32_t, 1U << kBinBits> bins{};
  const auto bin_of = [](uint32_t bits) { return bits >> (31 - kBinBits); };
  for (int64_t i = 0; i < inputs; ++i) ++bins[bin_of(magnitude(x[i]))];
  auto bin = static_cast<uint32_t>(bins.size() - 1);
  int64_t above = 0;
  for (; above + bins[bin] < kept; --bin) above += bins[bin];
  int64_t count = 0;
  for (int64_t i = 0; i < inputs; ++i) {
    spare[count] = magnitude(x[i]);
    count += bin_of(spare[count]) == bin ? 1 : 0;
  }
  const int64_t left = kept - above;  // how many of these are kept, at least one
  std::nth_element(spare, spare + left - 1, spare + count, std::greater<>());
  const uint32_t least = spare[left - 1];
  return {.bits = least,
          .equal = left - std::count_if(spare, spare + left, [&](uint32_t bits) { return bits > least; })};
}

}  // namespace

void keep_largest(const float* x, int64_t inputs, int64_t kept, std::byte* out) {
  auto* numbers = reinterpret_cast<float*>(out);
  auto* active = reinterpret_cast<int32_t*>(out + LargestRow::of(inputs, kept).inputs);
  if (kept == inputs) {
    std::memcpy(numbers, x, static_cast<size_t>(inputs) * sizeof(float));
    for (int64_t i = 0; i < inputs; ++i) active[i] = static_cast<int32_t>(i);
    return;
  }
  Least least = find_least(x, inputs, kept, reinterpret_cast<uint32_t*>(out));
  int64_t count = 0;
  for (int64_t i = 0; i < inputs; ++i) {
    const uint32_t bits = magnitude(x[i]);
    const bool equal = bits == least.bits && least.equal > 0;
    const bool stays = equal || bits > least.bits;
    least.equal -= equal ? 1 : 0;
    numbers[i] = stays ? x[i] : 0.0F;
    if (count < kept) active[count] = static_cast<int32_t>(i);
    count += stays ? 1 : 0;
  }
}

}  // namespace lamina::kernels

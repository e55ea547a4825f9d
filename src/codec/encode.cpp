#include "codec/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace lamina::codec {

std::string RowFault::what(const core::NumberFormat& format) const {
  if (kind == Kind::kNotFinite) return fmt::format("is {}; finite numbers expected", value);
  return fmt::format("is {}, too large for {}", value, format.name);
}

namespace {

/// An input that calibration never saw is not worthless.
constexpr double kLeastShare = 1e-3;

/// Importance times how much the numbers of a block weigh by themselves: sqrt(2 * mean square + square), as llama.cpp's
/// quantizer has it.
std::vector<float> search_weights(const Codec& codec, const float* in, int64_t elements, const float* importance) {
  std::vector<float> weights(static_cast<size_t>(elements));
  double total = 0;
  for (int64_t i = 0; i < elements; ++i) total += double{importance[i]};
  const auto least = static_cast<float>(kLeastShare * total / static_cast<double>(elements));
  const int64_t block = codec.format.block_elements;
  for (int64_t first = 0; first < elements; first += block) {
    double square = 0;
    for (int64_t i = first; i < first + block; ++i) square += double{in[i]} * double{in[i]};
    const auto spread = static_cast<float>(2 * square / static_cast<double>(block));
    for (int64_t i = first; i < first + block; ++i)
      weights[static_cast<size_t>(i)] = std::max(importance[i], least) * std::sqrt(spread + in[i] * in[i]);
  }
  return weights;
}

}  // namespace

RowFault encode_row(const Codec& codec, const float* in, int64_t elements, std::byte* out, float* decoded,
                    double& error, const float* importance) {
  for (int64_t i = 0; i < elements; ++i) {
    if (!std::isfinite(in[i])) return {RowFault::Kind::kNotFinite, i, in[i]};
  }
  if (importance != nullptr && codec.encode_weighted != nullptr) {
    codec.encode_weighted(in, search_weights(codec, in, elements, importance).data(), elements, out);
  } else {
    codec.encode(in, elements, out);
  }
  codec.decode(out, elements, decoded);
  double sum = 0;
  for (int64_t i = 0; i < elements; ++i) {
    if (!std::isfinite(decoded[i])) return {RowFault::Kind::kTooLarge, i, in[i]};
    const double difference = double{in[i]} - double{decoded[i]};
    sum += difference * difference;
  }
  error += sum;
  return {};
}

}  // namespace lamina::codec

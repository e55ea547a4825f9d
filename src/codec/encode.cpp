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

/// The weights of a search: importance, but never nothing. (Weighing large numbers more, by sqrt(2 * mean square +
/// square) as llama.cpp's quantizer does, came out worse: docs/compress.md.)
std::vector<float> search_weights(const float* importance, int64_t elements) {
  double total = 0;
  for (int64_t i = 0; i < elements; ++i) total += double{importance[i]};
  const auto least = static_cast<float>(kLeastShare * total / static_cast<double>(elements));
  std::vector<float> weights(importance, importance + elements);
  for (float& weight : weights) weight = std::max(weight, least);
  return weights;
}

}  // namespace

RowFault encode_row(const Codec& codec, const float* in, int64_t elements, std::byte* out, float* decoded,
                    double& error, const float* importance) {
  for (int64_t i = 0; i < elements; ++i) {
    if (!std::isfinite(in[i])) return {RowFault::Kind::kNotFinite, i, in[i]};
  }
  if (importance != nullptr && codec.encode_weighted != nullptr) {
    codec.encode_weighted(in, search_weights(importance, elements).data(), elements, out);
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

#include "codec/encode.h"

#include <fmt/format.h>

#include <cmath>

namespace lamina::codec {

std::string RowFault::what(const core::NumberFormat& format) const {
  if (kind == Kind::kNotFinite) return fmt::format("is {}; finite numbers expected", value);
  return fmt::format("is {}, too large for {}", value, format.name);
}

RowFault encode_row(const Codec& codec, const float* in, int64_t elements, std::byte* out, float* decoded,
                    double& error) {
  for (int64_t i = 0; i < elements; ++i) {
    if (!std::isfinite(in[i])) return {RowFault::Kind::kNotFinite, i, in[i]};
  }
  codec.encode(in, elements, out);
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

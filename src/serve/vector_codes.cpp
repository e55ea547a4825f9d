#include "serve/vector_codes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "text/base64.h"

namespace lamina::serve {

namespace {

constexpr float kMostCode = 127;

std::string base64_of(std::span<const float> vector) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(vector.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), vector.data(), bytes.size());
  return text::encode_base64(bytes);
}

Json int8_codes(std::span<const float> vector) {
  float most = 0;
  for (const float value : vector) most = std::max(most, std::abs(value));
  const float scale = most / kMostCode;
  Json codes = Json::array();
  for (const float value : vector) codes.push_back(scale > 0 ? std::lround(value / scale) : 0);
  return {{"embedding", std::move(codes)}, {"scale", scale}};
}

Json sign_bytes(std::span<const float> vector, int offset) {
  Json bytes = Json::array();
  for (size_t begin = 0; begin < vector.size(); begin += 8) {
    int byte = 0;
    for (size_t i = 0; i < 8; ++i) {
      const bool above = begin + i < vector.size() && vector[begin + i] > 0;
      byte = 2 * byte + (above ? 1 : 0);
    }
    bytes.push_back(byte - offset);
  }
  return {{"embedding", std::move(bytes)}};
}

}  // namespace

Json code_vector(std::span<const float> vector, std::string_view format) {
  if (format == "base64") return {{"embedding", base64_of(vector)}};
  if (format == "int8") return int8_codes(vector);
  if (format == "binary") return sign_bytes(vector, 128);
  if (format == "ubinary") return sign_bytes(vector, 0);
  return {{"embedding", vector}};
}

}  // namespace lamina::serve

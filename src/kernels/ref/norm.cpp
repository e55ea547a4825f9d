#include "kernels/norm.h"

#include <cmath>

#include "kernels/ref/math.h"

namespace lamina::kernels::ref {

namespace {

void rms_norm(const float* x, const float* weight, float* out, int64_t size, float epsilon, float weight_offset) {
  float lanes[16] = {};
  for (int64_t i = 0; i < size; ++i) lanes[i % 16] = std::fma(x[i], x[i], lanes[i % 16]);
  const float factor = 1.0F / std::sqrt(fold16(lanes) / static_cast<float>(size) + epsilon);
  for (int64_t i = 0; i < size; ++i) {
    const float y = x[i] * factor;
    out[i] = weight == nullptr ? y : y * (weight[i] + weight_offset);
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, float* out, int64_t size, float epsilon) {
  float sums[16] = {};
  for (int64_t i = 0; i < size; ++i) sums[i % 16] += x[i];
  const float mean = fold16(sums) / static_cast<float>(size);
  float squares[16] = {};
  for (int64_t i = 0; i < size; ++i) {
    const float d = x[i] - mean;
    squares[i % 16] = std::fma(d, d, squares[i % 16]);
  }
  const float factor = 1.0F / std::sqrt(fold16(squares) / static_cast<float>(size) + epsilon);
  for (int64_t i = 0; i < size; ++i) {
    float y = (x[i] - mean) * factor;
    if (weight != nullptr) y = y * weight[i];
    if (bias != nullptr) y = y + bias[i];
    out[i] = y;
  }
}

}  // namespace

const NormVariant kNorm{core::Isa::kScalar, rms_norm, layer_norm};

}  // namespace lamina::kernels::ref

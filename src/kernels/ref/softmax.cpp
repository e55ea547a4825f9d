#include "kernels/softmax.h"

#include <algorithm>
#include <limits>

#include "kernels/ref/math.h"

namespace lamina::kernels::ref {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

float maximum(const float* x, int64_t size) {
  float best = kMinusInfinity;
  for (int64_t i = 0; i < size; ++i) best = best < x[i] ? x[i] : best;
  return best;
}

void softmax(const float* x, int64_t size, float* out) {
  const float top = maximum(x, size);
  float lanes[16] = {};
  for (int64_t i = 0; i < size; ++i) {
    out[i] = ref::exp(x[i] - top);
    lanes[i % 16] += out[i];
  }
  const float factor = 1.0F / fold16(lanes);
  for (int64_t i = 0; i < size; ++i) out[i] *= factor;
}

double log_sum_exp(const float* x, int64_t size) {
  const float top = maximum(x, size);
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += 4096) {
    float lanes[16] = {};
    for (int64_t i = begin; i < std::min(size, begin + 4096); ++i) lanes[i % 16] += ref::exp(x[i] - top);
    total += static_cast<double>(fold16(lanes));
  }
  return static_cast<double>(top) + std::log(total);
}

int64_t argmax(const float* x, int64_t size) {
  float best = kMinusInfinity;
  int64_t place = -1;
  for (int64_t i = 0; i < size; ++i) {
    if (best < x[i] || (place < 0 && x[i] == best)) {
      best = x[i];
      place = i;
    }
  }
  return std::max<int64_t>(place, 0);
}

}  // namespace

const SoftmaxVariant kSoftmax{core::Isa::kScalar, softmax, log_sum_exp, argmax};

}  // namespace lamina::kernels::ref

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

/// Sum of exp(x - top), each also to `out` unless that is null.
double exp_sum(const float* x, int64_t size, float top, float* out) {
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += 512) {
    float lanes[16] = {};
    for (int64_t i = begin; i < std::min(size, begin + 512); ++i) {
      const float e = ref::exp(x[i] - top);
      if (out != nullptr) out[i] = e;
      lanes[i % 16] += e;
    }
    total += static_cast<double>(fold16(lanes));
  }
  return total;
}

void softmax(const float* x, int64_t size, float* out) {
  const float factor = 1.0F / static_cast<float>(exp_sum(x, size, maximum(x, size), out));
  for (int64_t i = 0; i < size; ++i) out[i] *= factor;
}

double log_sum_exp(const float* x, int64_t size) {
  const float top = maximum(x, size);
  return static_cast<double>(top) + std::log(exp_sum(x, size, top, nullptr));
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

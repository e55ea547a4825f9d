#include "kernels/rope.h"

#include <cmath>

namespace lamina::kernels::ref {

namespace {

void rope(const RopeArgs& args) {
  const int64_t half = args.rotary / 2;
  const bool pairs = args.order == RopeOrder::kPairs;
  for (int64_t head = 0; head < args.heads; ++head) {
    float* x = args.x + head * args.head_stride;
    for (int64_t i = 0; i < half; ++i) {
      float& first = x[pairs ? 2 * i : i];
      float& second = x[pairs ? 2 * i + 1 : i + half];
      const float a = first;
      const float b = second;
      first = std::fma(-b, args.sines[i], a * args.cosines[i]);
      second = std::fma(a, args.sines[i], b * args.cosines[i]);
    }
  }
}

}  // namespace

const RopeVariant kRope{core::Isa::kScalar, rope};

}  // namespace lamina::kernels::ref

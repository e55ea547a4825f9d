#include "kernels/columns.h"

#include <cmath>
#include <vector>

namespace lamina::kernels::ref {

namespace {

void run(const ColumnArgs& args) {
  std::vector<float> weights(static_cast<size_t>(args.layout->inputs));
  for (int64_t output = args.begin; output < args.end; ++output) {
    decode_columns(*args.layout, args.packed, {.output = output, .inputs = args.layout->inputs}, weights.data());
    float y = 0.0F;
    for (const int32_t input : args.active) y = std::fma(weights[static_cast<size_t>(input)], args.x[input], y);
    args.y[output] = y;
  }
}

void widen(const ColumnLayout& layout, const std::byte* packed, const ColumnPiece& piece, float* out) {
  std::vector<float> weights(static_cast<size_t>(piece.inputs));
  ColumnPiece one = piece;
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    one.output = piece.output + lane;
    decode_columns(layout, packed, one, weights.data());
    for (int64_t i = 0; i < piece.inputs; ++i) out[i * kPanel + lane] = weights[static_cast<size_t>(i)];
  }
}

}  // namespace

const ColumnVariant kColumns{core::Isa::kScalar, run, widen};

}  // namespace lamina::kernels::ref

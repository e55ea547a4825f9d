#include "embed/pooling.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lamina::embed {

namespace {

struct Known {
  std::string_view name;
  Pooling pooling;
};
constexpr std::array kKnown{
    Known{"cls", Pooling::kCls}, Known{"mean", Pooling::kMean}, Known{"mean_sqrt_len", Pooling::kMeanSqrt},
    Known{"max", Pooling::kMax}, Known{"last", Pooling::kLast}, Known{"weighted_mean", Pooling::kWeightedMean}};

/// Sum of the rows in one column, over what the pooling divides by.
float pool_column(Pooling pooling, const float* column, int64_t first, int64_t count, int64_t stride) {
  double sum = 0;
  double weights = 0;
  for (int64_t row = first; row < count; ++row) {
    const double weight = pooling == Pooling::kWeightedMean ? static_cast<double>(row + 1) : 1;
    sum += weight * static_cast<double>(column[row * stride]);
    weights += weight;
  }
  return static_cast<float>(sum / (pooling == Pooling::kMeanSqrt ? std::sqrt(weights) : weights));
}

}  // namespace

core::Result<Pooling> find_pooling(std::string_view name) {
  std::string names;
  for (const Known& known : kKnown) {
    if (known.name == name) return known.pooling;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return core::fail(core::ErrorCode::kInvalid, "pooling", "\"{}\" is unknown; one of {} expected", name, names);
}

void pool(Pooling pooling, const float* rows, int64_t count, int64_t hidden, int64_t skipped, float* out) {
  const int64_t first = skipped < count ? skipped : 0;
  if (pooling == Pooling::kCls || pooling == Pooling::kLast) {
    std::copy_n(rows + (pooling == Pooling::kCls ? first : count - 1) * hidden, hidden, out);
    return;
  }
  for (int64_t i = 0; i < hidden; ++i) {
    if (pooling != Pooling::kMax) {
      out[i] = pool_column(pooling, rows + i, first, count, hidden);
      continue;
    }
    out[i] = rows[first * hidden + i];
    for (int64_t row = first + 1; row < count; ++row) out[i] = std::max(out[i], rows[row * hidden + i]);
  }
}

void normalize(std::span<float> vector) {
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * static_cast<double>(value);
  if (squares == 0) return;
  const double factor = 1 / std::sqrt(squares);
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) * factor);
}

}  // namespace lamina::embed

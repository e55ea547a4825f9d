#include "embed/pooling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace lamina::embed {

namespace {

struct Known {
  std::string_view name;
  Pooling pooling;
};
constexpr std::array kKnown{
    Known{"cls", Pooling::kCls}, Known{"mean", Pooling::kMean}, Known{"mean_sqrt_len", Pooling::kMeanSqrt},
    Known{"max", Pooling::kMax}, Known{"last", Pooling::kLast}, Known{"weighted_mean", Pooling::kWeightedMean}};

/// Rows that are read once: each is added to all columns.
struct Rows {
  const float* data;
  int64_t first;
  int64_t count;
  int64_t hidden;
};

/// Sum of the rows, over what the pooling divides by.
void pool_sum(Pooling pooling, const Rows& rows, float* out) {
  std::vector<double> sums(static_cast<size_t>(rows.hidden), 0.0);
  double weights = 0;
  for (int64_t row = rows.first; row < rows.count; ++row) {
    const double weight = pooling == Pooling::kWeightedMean ? static_cast<double>(row + 1) : 1;
    const float* numbers = rows.data + row * rows.hidden;
    for (double& sum : sums) sum += weight * static_cast<double>(*numbers++);
    weights += weight;
  }
  const double divisor = pooling == Pooling::kMeanSqrt ? std::sqrt(weights) : weights;
  for (const double sum : sums) *out++ = static_cast<float>(sum / divisor);
}

void pool_max(const Rows& rows, float* out) {
  std::copy_n(rows.data + rows.first * rows.hidden, rows.hidden, out);
  for (int64_t row = rows.first + 1; row < rows.count; ++row) {
    for (int64_t i = 0; i < rows.hidden; ++i) out[i] = std::max(out[i], rows.data[row * rows.hidden + i]);
  }
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
  const Rows all{.data = rows, .first = first, .count = count, .hidden = hidden};
  if (pooling == Pooling::kMax) return pool_max(all, out);
  pool_sum(pooling, all, out);
}

void normalize(std::span<float> vector) {
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * static_cast<double>(value);
  if (squares == 0) return;
  const double factor = 1 / std::sqrt(squares);
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) * factor);
}

}  // namespace lamina::embed

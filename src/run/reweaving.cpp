#include "run/reweaving.h"

#include <algorithm>

#include "kernels/norm.h"
#include "kernels/softmax.h"

namespace lamina::run {

namespace {

constexpr int64_t kLanes = 16;
constexpr float kTiny = 1e-12F;  ///< beside the mean square: a row of zeros stays one

int64_t padded(int64_t count) {
  return (count + kLanes - 1) / kLanes * kLanes;
}

/// The sum of a[i] * b[i] in 16 lanes (index mod 16), folded 8-4-2-1.
float product(const float* a, const float* b, int64_t size) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += a[i + k] * b[i + k];
  }
  for (int64_t k = 0; i + k < size; ++k) lanes[k] += a[i + k] * b[i + k];
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

/// What is kept, as it lies in a state: two counters, then the rows.
struct Kept {
  const recipe::ReweavePlan& plan;
  int64_t hidden;
  float* state;

  int64_t count() const { return static_cast<int64_t>(state[0]); }
  void set_count(int64_t count) { state[0] = static_cast<float>(count); }
  /// The place of the row before, whose successor is not known yet; -1: none.
  int64_t open() const { return static_cast<int64_t>(state[1]) - 1; }
  void set_open(int64_t place) { state[1] = static_cast<float>(place + 1); }
  float* key(int64_t place) { return state + kLanes + place * hidden; }
  float* value(int64_t place) { return key(plan.next ? plan.keep + place : place); }
};

/// Weaves into the row what is kept, by the weights of its places.
void mix(Kept& kept, const float* weights, const float* direction, float* mean, float* row) {
  const int64_t hidden = kept.hidden;
  std::fill_n(mean, hidden, 0.0F);
  for (int64_t place = 0; place < kept.count(); ++place) {
    const float* value = kept.value(place);
    for (int64_t i = 0; i < hidden; ++i) mean[i] += weights[place] * value[i];
  }
  const float length = product(row, direction, hidden) / static_cast<float>(hidden);
  const auto weight = static_cast<float>(kept.plan.weight);
  for (int64_t i = 0; i < hidden; ++i) row[i] += weight * (length * mean[i] - row[i]);
}

}  // namespace

int64_t reweave_state_floats(const recipe::ReweavePlan& plan, int64_t hidden) {
  return kLanes + (plan.next ? 2 : 1) * plan.keep * hidden;
}

int64_t reweave_scratch_bytes(const recipe::ReweavePlan& plan, int64_t hidden) {
  return (padded(plan.keep) + 2 * padded(hidden)) * static_cast<int64_t>(sizeof(float));
}

void reweave_rows(const recipe::ReweavePlan& plan, std::span<float> rows, int64_t hidden, float* state,
                  float* scratch) {
  Kept kept{.plan = plan, .hidden = hidden, .state = state};
  float* weights = scratch;
  float* direction = weights + padded(plan.keep);
  float* mean = direction + padded(hidden);
  const auto sharpness = static_cast<float>(plan.sharpness);
  for (float* row = rows.data(); row < rows.data() + rows.size(); row += hidden) {
    kernels::rms_norm(row, nullptr, direction, hidden, kTiny, 0);
    if (kept.open() >= 0) std::copy_n(direction, hidden, kept.value(kept.open()));
    const int64_t count = kept.count();
    int64_t nearest = 0;
    if (count > 0) {
      for (int64_t place = 0; place < count; ++place)
        weights[place] = product(direction, kept.key(place), hidden) / static_cast<float>(hidden);
      nearest = kernels::argmax(weights, count);
      for (int64_t place = 0; place < count; ++place) weights[place] *= sharpness;
      kernels::softmax(weights, count, weights);
      mix(kept, weights, direction, mean, row);
    }
    const int64_t place = count < plan.keep ? count : nearest;
    if (place == count) kept.set_count(count + 1);
    std::copy_n(direction, hidden, kept.key(place));
    if (plan.next) kept.set_open(place);
  }
}

}  // namespace lamina::run

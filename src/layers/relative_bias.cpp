#include "layers/relative_bias.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

constexpr int64_t kMaxReach = 1 << 16;  // tables hold a number per distance and head

}  // namespace

int64_t relative_bucket(int64_t distance, int64_t buckets, int64_t reach, bool bidirectional) {
  const int64_t side = bidirectional ? buckets / 2 : buckets;
  const int64_t first = bidirectional && distance > 0 ? side : 0;
  const int64_t steps = bidirectional ? std::abs(distance) : std::max<int64_t>(-distance, 0);
  const int64_t exact = side / 2;
  if (steps < exact) return first + steps;
  // In float32, as the reference has it: a bucket's border must not move by rounding otherwise.
  const float share = std::log(static_cast<float>(steps) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(reach) / static_cast<double>(exact)));
  const auto wide = static_cast<int64_t>(share * static_cast<float>(side - exact));
  return first + std::min(exact + wide, side - 1);
}

Result<RelativeBias> RelativeBias::make(Record record, Weights& weights, int64_t heads, bool bidirectional) {
  RelativeBias bias;
  LAMINA_ASSIGN(const std::string name, record.text("weight"));
  LAMINA_ASSIGN(const int64_t buckets, record.size("buckets"));
  LAMINA_ASSIGN(bias.reach_, record.size("distance"));
  LAMINA_ASSIGN(const bool both, record.flag_or("bidirectional", bidirectional));
  LAMINA_CHECK_OK(record.done());
  const int64_t least = both ? 4 : 2;
  if (buckets < least || buckets % least != 0 || bias.reach_ <= buckets / least || bias.reach_ > kMaxReach) {
    return fail(ErrorCode::kCorrupt, record.place(),
                "{} buckets over a distance of {}; a multiple of {} buckets and a distance in {} .. {} expected",
                buckets, bias.reach_, least, buckets / least + 1, kMaxReach);
  }
  LAMINA_ASSIGN(const std::vector<float> weight, weights.numbers(name, {buckets, heads}));
  bias.floats_ = kernels::attention_bias_floats(bias.reach_);
  bias.tables_.resize(static_cast<size_t>(heads * bias.floats_));
  for (int64_t i = 0; i < bias.floats_; ++i) {
    const int64_t distance = std::clamp(i - bias.reach_ - 15, -bias.reach_, bias.reach_);
    const int64_t bucket = relative_bucket(distance, buckets, bias.reach_, both);
    for (int64_t head = 0; head < heads; ++head) {
      bias.tables_[static_cast<size_t>(head * bias.floats_ + i)] = weight[static_cast<size_t>(bucket * heads + head)];
    }
  }
  return bias;
}

}  // namespace lamina::layers

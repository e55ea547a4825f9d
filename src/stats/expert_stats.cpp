#include "stats/expert_stats.h"

#include <algorithm>

namespace lamina::stats {

ExpertStats& ExpertStats::operator+=(const ExpertStats& other) {
  rows += other.rows;
  for (size_t i = 0; i < shares.size(); ++i) shares[i] += other.shares[i];
  for (size_t i = 0; i < together.size(); ++i) together[i] += other.together[i];
  return *this;
}

void ExpertSums::add(const layers::ExpertChoices& choices) {
  ExpertStats& sums = layers_[choices.layer];
  sums.layer = choices.layer;
  sums.rows += choices.rows;
  sums.shares.resize(static_cast<size_t>(choices.experts));
  sums.together.resize(static_cast<size_t>(triangle_size(choices.experts)));
  for (int64_t row = 0; row < choices.rows; ++row) {
    const int32_t* chosen = choices.chosen + row * choices.used;
    const float* shares = choices.shares + row * choices.used;
    for (int64_t i = 0; i < choices.used; ++i) {
      sums.shares[static_cast<size_t>(chosen[i])] += double{shares[i]};
      for (int64_t j = 0; j <= i; ++j) {
        const int64_t row_of = std::max(chosen[i], chosen[j]);
        sums.together[static_cast<size_t>(triangle_row(row_of) + std::min(chosen[i], chosen[j]))] += 1;
      }
    }
  }
}

std::vector<ExpertStats> ExpertSums::sums() const {
  std::vector<ExpertStats> out;
  for (const auto& [layer, sums] : layers_) out.push_back(sums);
  return out;
}

}  // namespace lamina::stats

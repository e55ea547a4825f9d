#include "serve/pace.h"

#include <algorithm>

namespace lamina::serve {

namespace {

constexpr double kGapOverPlain = 3;
constexpr double kNewest = 0.25;    // weight of the newest measurement
constexpr int64_t kFirstRows = 32;  // before it is known what a row takes
constexpr int kMostMixed = 32;      // steps with prompts before one without

void blend(double& average, double value) {
  average = average == 0 ? value : (1 - kNewest) * average + kNewest * value;
}

}  // namespace

double PaceOptions::read_seconds(double plain_seconds) const {
  const double gap = max_gap_seconds > 0 ? max_gap_seconds : kGapOverPlain * plain_seconds;
  return std::max(0.0, gap - plain_seconds);
}

Pace::Pace(const PaceOptions& options, int64_t max_rows) : options_(options), max_rows_(max_rows) {}

int64_t Pace::prompt_rows(int64_t writers, double seconds) const {
  if (writers == 0 && seconds == kNoHurry) return max_rows_;
  if (writers > 0 && (plain_seconds_ == 0 || mixed_ >= kMostMixed)) return 0;
  const int64_t room = std::max<int64_t>(max_rows_ - writers, 0);
  if (seconds_per_row_ == 0) return std::min(kFirstRows, room);
  if (writers > 0) seconds = std::min(seconds, options_.read_seconds(plain_seconds_));
  const auto wanted = static_cast<int64_t>(std::min(seconds / seconds_per_row_, static_cast<double>(room)));
  return std::min(std::max(wanted, options_.least_rows), room);
}

void Pace::note(int64_t writers, int64_t prompt_rows, double seconds) {
  mixed_ = writers > 0 && prompt_rows > 0 ? mixed_ + 1 : 0;
  if (prompt_rows == 0) return blend(plain_seconds_, seconds);
  const double plain = writers > 0 ? plain_seconds_ : 0;
  blend(seconds_per_row_, std::max(seconds - plain, 0.05 * seconds) / static_cast<double>(prompt_rows));
}

}  // namespace lamina::serve

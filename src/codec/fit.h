#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "codec/block.h"
#include "codec/grid.h"
#include "codec/half.h"

namespace lamina::codec {

// Least-squares searches for the scales of formats whose blocks have groups. All sums run over eight lanes, so that
// compilers can use vector instructions without changing their order.

/// What an error in each number costs: the same for all, or `const float*`, one weight a number.
struct EvenWeights {
  constexpr float operator[](int /*index*/) const { return 1.0f; }
  constexpr EvenWeights operator+(int /*offset*/) const { return {}; }
};

inline constexpr int kLanes = 8;
inline constexpr float kTiny = 1e-30f;  ///< groups whose numbers are all smaller become zeros

/// To the nearest whole number, ties to even; for magnitudes below 2^22.
inline float round_near(float value) {
  return (value + 12582912.0f) - 12582912.0f;
}

/// `value` in [low, high]; NaN gives low.
inline float clamp_to(float value, float low, float high) {
  const float above = value > low ? value : low;
  return above < high ? above : high;
}

/// The sum over i of term(i) for i below N.
template <int N, typename Term>
inline float sum_lanes(Term term) {
  static_assert(N % kLanes == 0);
  float lanes[kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) lanes[k] += term(i + k);
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

/// The whole numbers from kLow to kHigh.
template <int kLow, int kHigh>
struct WholeLevels {
  static constexpr float kEnds[2] = {kLow, kHigh};
  static constexpr float kStep = 0.1f;  ///< by which the search stretches the ends
  static float nearest(float value) { return clamp_to(round_near(clamp_to(value, kLow - 1, kHigh + 1)), kLow, kHigh); }
  /// Codes count from the lowest.
  static uint8_t code(float value) { return static_cast<uint8_t>(static_cast<int>(nearest(value)) - kLow); }
  static float value(uint8_t code) { return static_cast<float>(static_cast<int>(code) + kLow); }
};

/// The scale s for which the sum of w * (x - s * level)^2 is least among those tried: the largest magnitude lies on
/// either end of the levels, or a little inside or outside; each then moves to where the best scale of its levels is.
template <int N, typename Levels, typename Weights>
float fit_scale(const float* x, Weights w) {
  const float peak = largest_magnitude(x, N);
  if (!(std::fabs(peak) > kTiny)) return 0;
  float best_scale = 0;
  float best_score = 0;
  const auto consider = [&](float inverse) {
    float levels[N];
    for (int i = 0; i < N; ++i) levels[i] = Levels::nearest(x[i] * inverse);
    const float product = sum_lanes<N>([&](int i) { return w[i] * x[i] * levels[i]; });
    const float square = sum_lanes<N>([&](int i) { return w[i] * levels[i] * levels[i]; });
    // What the scale product / square takes away from the sum of squares.
    const float score = square > 0 ? product / square * product : 0;
    const bool better = score > best_score;
    if (better) {
      best_score = score;
      best_scale = product / square;
    }
    return better;
  };
  for (const float end : Levels::kEnds) {
    for (int step = -9; step <= 9; ++step) consider((end + Levels::kStep * static_cast<float>(step)) / peak);
  }
  for (int round = 0; round < 4 && best_scale != 0 && consider(1.0f / best_scale); ++round) {
  }
  return best_scale;
}

/// Scales of a group: `unit` times the whole numbers from `low` to `high`.
struct ScaleRange {
  float unit = 0;
  int low = 0;
  int high = 0;
};

/// Of these, the scale by which a group fits best: `nearest` writes the levels for numbers times an inverse. Writes the
/// whole number and its levels, and returns its error.
template <int N, typename Weights, typename Nearest>
float try_scales(const ScaleRange& range, const float* x, Weights w, Nearest nearest, int& chosen, float* levels) {
  float best = std::numeric_limits<float>::infinity();
  for (int whole = range.low; whole <= range.high; ++whole) {
    const float scale = range.unit * static_cast<float>(whole);
    float trial[N];
    nearest(reciprocal_or_zero(scale), trial);
    const float error = sum_lanes<N>([&](int i) {
      const float difference = x[i] - scale * trial[i];
      return w[i] * difference * difference;
    });
    if (!(error < best)) continue;
    best = error;
    chosen = whole;
    std::copy_n(trial, N, levels);
  }
  return best;
}

/// A block of kGroups groups whose scales are d times a whole number: value = d * scales[g] * level.
template <int kGroupSize, int kGroupCount, int kScaleLow, int kScaleHigh, typename Levels>
class ScaledGroups {
 public:
  static constexpr int kElements = kGroupSize * kGroupCount;

  uint16_t d = 0;  ///< f16
  std::array<int, kGroupCount> scales{};
  std::array<float, kElements> levels{};

  template <typename Weights>
  ScaledGroups(const float* x, Weights w) {
    std::array<float, kGroupCount> wanted{};
    for (int g = 0; g < kGroupCount; ++g)
      wanted[g] = fit_scale<kGroupSize, Levels>(x + g * kGroupSize, w + g * kGroupSize);
    const float peak = largest_magnitude(wanted.data(), kGroupCount);
    if (!(std::fabs(peak) > kTiny)) return;
    float best = std::numeric_limits<float>::infinity();
    const auto consider = [&](uint16_t half) {
      ScaledGroups trial(half, wanted, x, w);
      const bool better = trial.error_ < best;
      if (better) {
        best = trial.error_;
        *this = trial;
      }
      return better;
    };
    // The largest scale on the longer, negative side; then on the other.
    for (const int end : {kScaleLow, kScaleHigh}) consider(float_to_half(peak / static_cast<float>(end)));
    for (int round = 0; round < 2 && consider(float_to_half(best_d(x, w))); ++round) {
    }
    // Numbers that are all alike are met best by a d next to the best one.
    const uint16_t middle = d;
    for (const int step : {-2, -1, 1, 2}) consider(static_cast<uint16_t>(middle + step));
  }

 private:
  template <typename Weights>
  ScaledGroups(uint16_t half, const std::array<float, kGroupCount>& wanted, const float* x, Weights w)
      : d(half), error_(0) {
    const float scale = half_to_float(half);
    if (scale == 0 || !std::isfinite(scale)) {
      error_ = sum_lanes<kElements>([&](int i) { return w[i] * x[i] * x[i]; });
      return;
    }
    for (int g = 0; g < kGroupCount; ++g) {
      const float middle = round_near(clamp_to(wanted[g] / scale, kScaleLow, kScaleHigh));
      choose(g, static_cast<int>(middle), x + g * kGroupSize, w + g * kGroupSize);
    }
  }

  /// The whole scale near `middle` that fits group g best.
  template <typename Weights>
  void choose(int g, int middle, const float* x, Weights w) {
    const ScaleRange range{half_to_float(d), std::max(middle - 1, kScaleLow), std::min(middle + 1, kScaleHigh)};
    const auto nearest = [x](float inverse, float* found) {
      for (int i = 0; i < kGroupSize; ++i) found[i] = Levels::nearest(x[i] * inverse);
    };
    error_ += try_scales<kGroupSize>(range, x, w, nearest, scales[g], levels.data() + g * kGroupSize);
  }

  /// The d that fits best with the scales and levels as they are.
  template <typename Weights>
  float best_d(const float* x, Weights w) const {
    std::array<float, kElements> factors;
    for (int i = 0; i < kElements; ++i) factors[i] = levels[i] * static_cast<float>(scales[i / kGroupSize]);
    const float product = sum_lanes<kElements>([&](int i) { return w[i] * x[i] * factors[i]; });
    const float square = sum_lanes<kElements>([&](int i) { return w[i] * factors[i] * factors[i]; });
    return square > 0 ? product / square : 0;
  }

  float error_ = std::numeric_limits<float>::infinity();
};

/// A group as value = scale * level - minimum, levels 0 to the highest; the scale is at least 0, and so is the minimum
/// where the format asks for that.
struct GroupLine {
  float scale = 0;
  float minimum = 0;
};

/// The line and levels for which the sum of weighted squared errors is least among those tried: the range of the
/// numbers, a little more or less of it, each moved to the best line of its levels. kAnyMinimum: it may be below 0.
template <int N, int kHighest, bool kAnyMinimum = false, typename Weights>
GroupLine fit_line(const float* x, Weights w) {
  const Extremes range = extremes(x, N);
  const float low = kAnyMinimum ? range.low : std::min(range.low, 0.0f);
  if (!(range.high - low > kTiny)) return {0, -low};
  GroupLine best;
  float best_error = std::numeric_limits<float>::infinity();
  const float count = sum_lanes<N>([&](int i) { return w[i]; });
  const float total = sum_lanes<N>([&](int i) { return w[i] * x[i]; });
  const auto consider = [&](float from, float inverse) {
    float levels[N];
    for (int i = 0; i < N; ++i)
      levels[i] = round_near(clamp_to((x[i] - from) * inverse, 0.0f, static_cast<float>(kHighest)));
    const float sum = sum_lanes<N>([&](int i) { return w[i] * levels[i]; });
    const float square = sum_lanes<N>([&](int i) { return w[i] * levels[i] * levels[i]; });
    const float product = sum_lanes<N>([&](int i) { return w[i] * x[i] * levels[i]; });
    const float determinant = count * square - sum * sum;
    if (!(determinant > 0)) return false;
    float scale = (count * product - total * sum) / determinant;
    float offset = (square * total - sum * product) / determinant;
    if (!kAnyMinimum && offset > 0) {
      offset = 0;
      scale = product / square;
    }
    if (!(scale > 0)) return false;
    const float error = sum_lanes<N>([&](int i) {
      const float difference = x[i] - scale * levels[i] - offset;
      return w[i] * difference * difference;
    });
    if (!(error < best_error)) return false;
    best_error = error;
    best = {scale, -offset};
    return true;
  };
  // With few levels the lower end matters as much as the upper.
  constexpr int kCuts = kHighest < 8 ? 5 : 1;
  for (int cut = 0; cut < kCuts; ++cut) {
    const float from = low * (1.0f - 0.12f * static_cast<float>(cut));
    for (int step = -9; step <= 9; step += cut == 0 ? 1 : 3) {
      const float levels = static_cast<float>(kHighest) + 0.1f * static_cast<float>(step);
      consider(from, levels / (range.high - from));
    }
  }
  for (int round = 0; round < 4 && best.scale > 0 && consider(-best.minimum, 1.0f / best.scale); ++round) {
  }
  if (best.scale == 0) return {(range.high - low) / static_cast<float>(kHighest), -low};
  return best;
}

/// A block of groups with scales and minimums: value = d * scales[g] * level - dmin * minimums[g].
template <int kGroupSize, int kGroupCount, int kHighest, int kScaleHighest>
class LinedGroups {
 public:
  static constexpr int kElements = kGroupSize * kGroupCount;

  uint16_t d = 0;  ///< f16, as dmin
  uint16_t dmin = 0;
  std::array<uint8_t, kGroupCount> scales{};
  std::array<uint8_t, kGroupCount> minimums{};
  std::array<uint8_t, kElements> levels{};

  template <typename Weights>
  LinedGroups(const float* x, Weights w) {
    std::array<GroupLine, kGroupCount> lines;
    GroupLine peak;
    for (int g = 0; g < kGroupCount; ++g) {
      lines[g] = fit_line<kGroupSize, kHighest>(x + g * kGroupSize, w + g * kGroupSize);
      peak.scale = std::max(peak.scale, lines[g].scale);
      peak.minimum = std::max(peak.minimum, lines[g].minimum);
    }
    uint16_t half = float_to_half(peak.scale / static_cast<float>(kScaleHighest));
    uint16_t half_min = float_to_half(peak.minimum / static_cast<float>(kScaleHighest));
    float best = std::numeric_limits<float>::infinity();
    for (int round = 0; round < 4; ++round) {
      LinedGroups trial(half, half_min, lines, x, w);
      if (!(trial.error_ < best)) break;
      best = trial.error_;
      *this = trial;
      const GroupLine refined = trial.best_line(x, w);
      half = float_to_half(refined.scale);
      half_min = float_to_half(refined.minimum);
      if (half == d && half_min == dmin) break;
    }
  }

 private:
  template <typename Weights>
  LinedGroups(uint16_t half, uint16_t half_min, const std::array<GroupLine, kGroupCount>& lines, const float* x,
              Weights w)
      : d(half), dmin(half_min), error_(0) {
    const float inverse = reciprocal_or_zero(half_to_float(d));
    const float inverse_min = reciprocal_or_zero(half_to_float(dmin));
    for (int g = 0; g < kGroupCount; ++g) {
      const int scale = truncate_to(lines[g].scale * inverse + 0.5f, kScaleHighest);
      const int minimum = truncate_to(lines[g].minimum * inverse_min + 0.5f, kScaleHighest);
      choose(g, scale, minimum, x + g * kGroupSize, w + g * kGroupSize);
    }
  }

  /// The whole scale and minimum near those given that fit group g best.
  template <typename Weights>
  void choose(int g, int scale_near, int minimum_near, const float* x, Weights w) {
    float best = std::numeric_limits<float>::infinity();
    float chosen[kGroupSize] = {};
    for (int scale = std::max(scale_near - 1, 0); scale <= std::min(scale_near + 1, kScaleHighest); ++scale) {
      const float step = half_to_float(d) * static_cast<float>(scale);
      const float inverse = reciprocal_or_zero(step);
      for (int minimum = std::max(minimum_near - 1, 0); minimum <= std::min(minimum_near + 1, kScaleHighest);
           ++minimum) {
        const float below = half_to_float(dmin) * static_cast<float>(minimum);
        float trial[kGroupSize];
        for (int i = 0; i < kGroupSize; ++i)
          trial[i] = round_near(clamp_to((x[i] + below) * inverse, 0.0f, static_cast<float>(kHighest)));
        const float error = sum_lanes<kGroupSize>([&](int i) {
          const float difference = x[i] - (step * trial[i] - below);
          return w[i] * difference * difference;
        });
        if (!(error < best)) continue;
        best = error;
        scales[g] = static_cast<uint8_t>(scale);
        minimums[g] = static_cast<uint8_t>(minimum);
        std::copy_n(trial, kGroupSize, chosen);
      }
    }
    for (int i = 0; i < kGroupSize; ++i) levels[g * kGroupSize + i] = static_cast<uint8_t>(chosen[i]);
    error_ += best;
  }

  /// The d and dmin that fit best with everything else as it is.
  template <typename Weights>
  GroupLine best_line(const float* x, Weights w) const {
    std::array<float, kElements> up;
    std::array<float, kElements> down;
    for (int i = 0; i < kElements; ++i) {
      up[i] = static_cast<float>(levels[i]) * static_cast<float>(scales[i / kGroupSize]);
      down[i] = static_cast<float>(minimums[i / kGroupSize]);
    }
    const float uu = sum_lanes<kElements>([&](int i) { return w[i] * up[i] * up[i]; });
    const float dd = sum_lanes<kElements>([&](int i) { return w[i] * down[i] * down[i]; });
    const float ud = sum_lanes<kElements>([&](int i) { return w[i] * up[i] * down[i]; });
    const float xu = sum_lanes<kElements>([&](int i) { return w[i] * x[i] * up[i]; });
    const float xd = sum_lanes<kElements>([&](int i) { return w[i] * x[i] * down[i]; });
    const float determinant = uu * dd - ud * ud;
    GroupLine line{half_to_float(d), half_to_float(dmin)};
    if (determinant > 1e-6f * uu * dd) {
      line = {(xu * dd - xd * ud) / determinant, (xu * ud - xd * uu) / determinant};
    } else if (uu > 0 && dd == 0) {
      line.scale = xu / uu;
    }
    return line.scale >= 0 && line.minimum >= 0 ? line : GroupLine{half_to_float(d), half_to_float(dmin)};
  }

  float error_ = std::numeric_limits<float>::infinity();
};

}  // namespace lamina::codec

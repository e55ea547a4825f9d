#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "codec/fit.h"
#include "codec/lattice.h"

namespace lamina::codec {

// Least-squares searches for formats whose numbers are points of a lattice, with signs apart and scales
// d * kUnit * (1 + 2 n), n from 0 to 15, for groups of points.

/// kSize numbers make a point, whose elements take kBits bits each and index kLevels of `kValues`.
struct LatticeIq3S {
  static constexpr int kSize = 4;
  static constexpr int kBits = 4;
  static constexpr int kLevels = 8;
  static constexpr int kGroup = 32;
  static constexpr float kUnit = 1.0f;
  static constexpr bool kEvenSigns = false;
  static constexpr const auto& kValues = kIq3SValues;
  static constexpr const auto& kGrid = kGridIq3S;
};
struct LatticeIq3Xxs {
  static constexpr int kSize = 4;
  static constexpr int kBits = 4;
  static constexpr int kLevels = 8;
  static constexpr int kGroup = 32;
  static constexpr float kUnit = 0.25f;
  static constexpr bool kEvenSigns = true;
  static constexpr const auto& kValues = kIq3XxsValues;
  static constexpr const auto& kGrid = kGridIq3Xxs;
};
struct LatticeIq2S {
  static constexpr int kSize = 8;
  static constexpr int kBits = 2;
  static constexpr int kLevels = 3;
  static constexpr int kGroup = 16;
  static constexpr float kUnit = 0.125f;
  static constexpr bool kEvenSigns = false;
  static constexpr const auto& kValues = kIq2Values;
  static constexpr const auto& kGrid = kGridIq2S;
};

/// For every tuple of levels the points next to it.
template <typename Lattice>
class NearPoints {
 public:
  static constexpr int kNear = Lattice::kSize == 4 ? 12 : 16;
  static constexpr int kPoints = static_cast<int>(std::size(Lattice::kGrid));

  /// Made once, when a first block is encoded.
  static const NearPoints& get() {
    static const NearPoints made;
    return made;
  }
  const uint16_t* near(int tuple) const { return near_.data() + tuple * kNear; }
  /// The values of a point's elements.
  const float* values(int point) const { return values_.data() + point * Lattice::kSize; }

 private:
  NearPoints() {
    for (const uint16_t packed : Lattice::kGrid) {
      for (int i = 0; i < Lattice::kSize; ++i)
        values_.push_back(Lattice::kValues[packed >> (i * Lattice::kBits) & ((1 << Lattice::kBits) - 1) &
                                           (Lattice::kSize == 4 ? 7 : 3)]);
    }
    int tuples = 1;
    for (int i = 0; i < Lattice::kSize; ++i) tuples *= Lattice::kLevels;
    std::vector<std::pair<float, uint16_t>> distances(kPoints);
    for (int tuple = 0; tuple < tuples; ++tuple) {
      float at[Lattice::kSize];
      int rest = tuple;
      for (float& value : at) {
        value = Lattice::kValues[rest % Lattice::kLevels];
        rest /= Lattice::kLevels;
      }
      for (int point = 0; point < kPoints; ++point) {
        float distance = 0;
        for (int i = 0; i < Lattice::kSize; ++i) {
          const float difference = at[i] - values(point)[i];
          distance += difference * difference;
        }
        distances[static_cast<size_t>(point)] = {distance, static_cast<uint16_t>(point)};
      }
      std::partial_sort(distances.begin(), distances.begin() + kNear, distances.end());
      for (int i = 0; i < kNear; ++i) near_.push_back(distances[static_cast<size_t>(i)].second);
    }
  }

  std::vector<float> values_;
  std::vector<uint16_t> near_;
};

/// A block of 256 numbers as points, signs and scales.
template <typename Lattice>
class LatticeFit {
 public:
  static constexpr int kElements = 256;
  static constexpr int kSize = Lattice::kSize;
  static constexpr int kGroup = Lattice::kGroup;
  static constexpr int kGroups = kElements / kGroup;
  static constexpr int kGroupPoints = kGroup / kSize;

  uint16_t d = 0;  ///< f16
  std::array<uint8_t, kGroups> scales{};
  std::array<uint16_t, kElements / kSize> points{};
  std::array<uint8_t, kElements / 8> signs{};

  template <typename Weights>
  LatticeFit(const float* x, Weights w) {
    std::array<float, kElements> sizes;
    split_signs(x, w, sizes.data());
    std::array<float, kGroups> wanted{};
    float peak = 0;
    for (int g = 0; g < kGroups; ++g) {
      wanted[g] = fit_group(sizes.data() + g * kGroup, w + g * kGroup);
      peak = std::max(peak, wanted[g]);
    }
    Trial best = at(0, wanted, sizes.data(), w);
    const auto consider = [&](uint16_t half) {
      const Trial trial = at(half, wanted, sizes.data(), w);
      const bool better = trial.error < best.error;
      if (better) best = trial;
      return better;
    };
    // The largest scale as the largest of the format, or a little below it.
    for (const float most : {31.0f, 29.0f}) consider(float_to_half(peak / (most * Lattice::kUnit)));
    for (int round = 0; round < 2 && consider(float_to_half(best_d(best, sizes.data(), w))); ++round) {
    }
    const uint16_t middle = best.d;
    for (const int step : {-2, -1, 1, 2}) consider(static_cast<uint16_t>(middle + step));
    d = best.d;
    scales = best.scales;
    points = best.points;
  }

 private:
  struct Trial {
    uint16_t d = 0;
    float error = std::numeric_limits<float>::infinity();
    std::array<uint8_t, kGroups> scales{};
    std::array<uint16_t, kElements / kSize> points{};
  };

  /// Signs of eight numbers each; where their count must be even, the number that costs least changes its own.
  template <typename Weights>
  void split_signs(const float* x, Weights w, float* sizes) {
    for (int first = 0; first < kElements; first += 8) {
      uint32_t bits = 0;
      for (int i = 0; i < 8; ++i) bits |= x[first + i] < 0 ? 1u << i : 0u;
      if (Lattice::kEvenSigns && (std::popcount(bits) & 1) != 0) {
        int least = 0;
        for (int i = 1; i < 8; ++i) {
          const float now = w[first + i] * x[first + i] * x[first + i];
          least = now < w[first + least] * x[first + least] * x[first + least] ? i : least;
        }
        bits ^= 1u << least;
      }
      signs[first / 8] = static_cast<uint8_t>(bits);
      for (int i = 0; i < 8; ++i) sizes[first + i] = (bits >> i & 1u) != 0 ? -x[first + i] : x[first + i];
    }
  }

  static int level(float value) {
    int index = 0;
    for (int i = 0; i + 1 < Lattice::kLevels; ++i)
      index += value > 0.5f * (Lattice::kValues[i] + Lattice::kValues[i + 1]) ? 1 : 0;
    return index;
  }

  /// The point nearest to kSize numbers over a scale, of those next to where each number alone would go.
  template <typename Weights>
  static int nearest(const float* sizes, Weights w, float inverse) {
    const NearPoints<Lattice>& lattice = NearPoints<Lattice>::get();
    float at[kSize];
    int tuple = 0;
    for (int i = kSize; i-- > 0;) {
      at[i] = sizes[i] * inverse;
      tuple = tuple * Lattice::kLevels + level(at[i]);
    }
    const uint16_t* near = lattice.near(tuple);
    int best = near[0];
    float best_error = std::numeric_limits<float>::infinity();
    for (int n = 0; n < NearPoints<Lattice>::kNear; ++n) {
      const float* values = lattice.values(near[n]);
      float error = 0;
      for (int i = 0; i < kSize; ++i) {
        const float difference = at[i] - values[i];
        error += w[i] * difference * difference;
      }
      if (!(error < best_error)) continue;
      best_error = error;
      best = near[n];
    }
    return best;
  }

  /// The scale with the least squared error among those tried; 0 for zeros.
  template <typename Weights>
  static float fit_group(const float* sizes, Weights w) {
    const float peak = *std::max_element(sizes, sizes + kGroup);
    if (!(peak > kTiny) || !std::isfinite(peak)) return 0;
    const NearPoints<Lattice>& lattice = NearPoints<Lattice>::get();
    float best_scale = 0;
    float best_score = 0;
    const auto consider = [&](float inverse) {
      float product = 0;
      float square = 0;
      for (int p = 0; p < kGroup; p += kSize) {
        const float* values = lattice.values(nearest(sizes + p, w + p, inverse));
        for (int i = 0; i < kSize; ++i) {
          product += w[p + i] * sizes[p + i] * values[i];
          square += w[p + i] * values[i] * values[i];
        }
      }
      const float score = product > 0 ? product / square * product : 0;
      const bool better = score > best_score;
      if (better) {
        best_score = score;
        best_scale = product / square;
      }
      return better;
    };
    const float top = Lattice::kValues[Lattice::kLevels - 1];
    for (int step = -14; step <= 8; ++step) consider(top * (1.0f + 0.02f * static_cast<float>(step)) / peak);
    for (int i = 0; i + 1 < Lattice::kLevels; ++i) consider(Lattice::kValues[i] / peak);
    for (int round = 0; round < 2 && best_scale > 0 && consider(1.0f / best_scale); ++round) {
    }
    return best_scale;
  }

  /// Everything else for a given d.
  template <typename Weights>
  static Trial at(uint16_t half, const std::array<float, kGroups>& wanted, const float* sizes, Weights w) {
    Trial trial{.d = half, .error = 0};
    const float unit = half_to_float(half) * Lattice::kUnit;
    if (!std::isfinite(unit)) return {};
    const NearPoints<Lattice>& lattice = NearPoints<Lattice>::get();
    for (int g = 0; g < kGroups; ++g) {
      const float* group = sizes + g * kGroup;
      const float ratio = unit > 0 ? clamp_to(wanted[g] / unit, 0.0f, 31.0f) : 0.0f;
      const int middle = static_cast<int>(clamp_to(round_near((ratio - 1.0f) * 0.5f), 0.0f, 15.0f));
      float best = std::numeric_limits<float>::infinity();
      for (int n = std::max(middle - 1, 0); n <= std::min(middle + 1, 15); ++n) {
        const float scale = unit * static_cast<float>(1 + 2 * n);
        const float inverse = reciprocal_or_zero(scale);
        float error = 0;
        std::array<uint16_t, kGroupPoints> chosen{};
        for (int p = 0; p < kGroupPoints; ++p) {
          chosen[p] = static_cast<uint16_t>(nearest(group + p * kSize, w + (g * kGroup + p * kSize), inverse));
          const float* values = lattice.values(chosen[p]);
          for (int i = 0; i < kSize; ++i) {
            const float difference = group[p * kSize + i] - scale * values[i];
            error += w[g * kGroup + p * kSize + i] * difference * difference;
          }
        }
        if (!(error < best)) continue;
        best = error;
        trial.scales[g] = static_cast<uint8_t>(n);
        std::copy(chosen.begin(), chosen.end(), trial.points.begin() + g * kGroupPoints);
      }
      trial.error += best;
    }
    return trial;
  }

  /// The d that fits best with everything else as it is.
  template <typename Weights>
  static float best_d(const Trial& trial, const float* sizes, Weights w) {
    const NearPoints<Lattice>& lattice = NearPoints<Lattice>::get();
    float product = 0;
    float square = 0;
    for (int e = 0; e < kElements; ++e) {
      const float factor = Lattice::kUnit * static_cast<float>(1 + 2 * trial.scales[e / kGroup]) *
                           lattice.values(trial.points[e / kSize])[e % kSize];
      product += w[e] * sizes[e] * factor;
      square += w[e] * factor * factor;
    }
    return product > 0 ? product / square : 0;
  }
};

}  // namespace lamina::codec

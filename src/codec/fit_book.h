#pragma once

#include <span>

#include "codec/fit.h"

namespace lamina::codec {

/// The largest magnitude in a book: what codes stand for, whole numbers, ascending.
inline constexpr float kBookPeak = 127;

/// Writes the value of `book` that is nearest to x * inverse, for kCount numbers; of two, the lower.
template <int kCount, size_t kBook>
inline void nearest_values(const float* x, float inverse, const std::array<float, kBook>& book, float* values) {
  for (int i = 0; i < kCount; ++i) values[i] = book[0];
  for (size_t k = 0; k + 1 < kBook; ++k) {
    const float middle = 0.5f * (book[k] + book[k + 1]);
    for (int i = 0; i < kCount; ++i) values[i] = x[i] * inverse > middle ? book[k + 1] : values[i];
  }
}

/// A block of groups that index a book of the block's own: value = d * kUnit * scales[g] * book[code]. Book and codes
/// are learned by turns, each by weighted least squares, as Yvinec et al. 2023 (arXiv 2309.17361) learn theirs by
/// gradients.
template <int kGroupSize, int kGroupCount, int kScaleLow, int kScaleHigh, size_t kBook>
class BookGroups {
 public:
  static constexpr int kElements = kGroupSize * kGroupCount;
  using Values = std::array<float, kBook>;

  uint16_t d = 0;  ///< f16
  Values book{};
  std::array<int, kGroupCount> scales{};
  std::array<float, kElements> values{};  ///< of the book

  /// Learns from each of the books `starts` and keeps the best; `unit` is what d is multiplied by.
  template <typename Weights>
  BookGroups(const float* x, Weights w, float unit, std::span<const Values> starts) : unit_(unit) {
    for (const Values& start : starts) {
      Scales peaks{};
      for (int g = 0; g < kGroupCount; ++g)
        peaks[g] = largest_magnitude(x + g * kGroupSize, kGroupSize) / start.front();
      learn(start, peaks, x, w);
    }
    learn_fitted(even_book(x), x, w);
    learn_fitted(book_of_largest(x), x, w);
  }

  /// The code of number i; of equal values, the first.
  uint8_t code(int i) const {
    size_t code = 0;
    while (code + 1 < kBook && book[code] != values[static_cast<size_t>(i)]) ++code;
    return static_cast<uint8_t>(code);
  }

 private:
  static constexpr int kRounds = 24;
  static constexpr int kPatience = 4;
  using Scales = std::array<float, kGroupCount>;
  /// Scales of the groups, and how far from them whole ones are looked for.
  struct Aim {
    Scales wanted{};
    int reach = 0;
  };

  /// One choice of d and book, with the whole scales near the wanted ones that fit best.
  template <typename Weights>
  BookGroups(float unit, uint16_t half, const Values& of, const Aim& aim, const float* x, Weights w)
      : d(half), book(of), unit_(unit), error_(0) {
    const float scale = half_to_float(half) * unit;
    if (scale == 0 || !std::isfinite(scale)) {
      error_ = sum_lanes<kElements>([&](int i) { return w[i] * x[i] * x[i]; });
      values.fill(book[0]);
      return;
    }
    for (int g = 0; g < kGroupCount; ++g) {
      const float middle = round_near(clamp_to(aim.wanted[g] / scale, kScaleLow, kScaleHigh));
      choose(g, static_cast<int>(middle), aim.reach, x + g * kGroupSize, w + g * kGroupSize);
    }
  }

  template <typename Weights>
  void choose(int g, int middle, int reach, const float* x, Weights w) {
    const ScaleRange range{half_to_float(d) * unit_, std::max(middle - reach, kScaleLow),
                           std::min(middle + reach, kScaleHigh)};
    const auto nearest = [this, x](float inverse, float* found) {
      nearest_values<kGroupSize>(x, inverse, book, found);
    };
    error_ += try_scales<kGroupSize>(range, x, w, nearest, scales[g], values.data() + g * kGroupSize);
  }

  /// Values at equal distances over the range of the numbers, each divided by its group's peak.
  static Values even_book(const float* x) {
    float low = 1;
    for (int g = 0; g < kGroupCount; ++g) {
      const float inverse = reciprocal_or_zero(largest_magnitude(x + g * kGroupSize, kGroupSize));
      for (int i = 0; i < kGroupSize; ++i) low = std::min(low, x[g * kGroupSize + i] * inverse);
    }
    Values found;
    for (size_t k = 0; k < kBook; ++k) {
      const float share = static_cast<float>(k) / static_cast<float>(kBook - 1);
      found[k] = round_near(kBookPeak * (low + (1 - low) * share));
    }
    return found;
  }

  /// Values that lie at equal ranks in the group of the largest number.
  static Values book_of_largest(const float* x) {
    int largest = 0;
    for (int i = 1; i < kElements; ++i) largest = std::fabs(x[i]) > std::fabs(x[largest]) ? i : largest;
    const float* group = x + largest / kGroupSize * kGroupSize;
    std::array<float, kGroupSize> numbers;
    const float inverse = kBookPeak * reciprocal_or_zero(std::fabs(x[largest]));
    for (int i = 0; i < kGroupSize; ++i) numbers[i] = clamp_to(round_near(group[i] * inverse), -kBookPeak, kBookPeak);
    std::ranges::sort(numbers);
    Values found;
    for (size_t k = 0; k < kBook; ++k) found[k] = numbers[k * (kGroupSize - 1) / (kBook - 1)];
    return found;
  }

  /// The scale with which a group's numbers are met best by the book, of those that bring its peak near to either end.
  template <typename Weights>
  static float fit_group(const Values& book, const float* x, Weights w) {
    const float peak = largest_magnitude(x, kGroupSize);
    if (!(std::fabs(peak) > kTiny)) return 0;
    float best = 0;
    float best_score = 0;
    for (const float end : {book.front(), book.back()}) {
      for (int step = -8; step <= 4; ++step) {
        const Moved moved = move(book, x, w, peak / (end * (1 + 0.05f * static_cast<float>(step))));
        if (!(moved.score > best_score)) continue;
        best_score = moved.score;
        best = moved.scale;
      }
    }
    return best;
  }

  struct Moved {
    float scale = 0;  ///< the best one for the values that `move` chose
    float score = 0;  ///< what it takes away from the sum of squares
  };
  template <typename Weights>
  static Moved move(const Values& book, const float* x, Weights w, float scale) {
    float found[kGroupSize];
    nearest_values<kGroupSize>(x, reciprocal_or_zero(scale), book, found);
    const float product = sum_lanes<kGroupSize>([&](int i) { return w[i] * x[i] * found[i]; });
    const float square = sum_lanes<kGroupSize>([&](int i) { return w[i] * found[i] * found[i]; });
    return square > 0 ? Moved{product / square, product / square * product} : Moved{scale, 0};
  }

  template <typename Weights>
  void learn_fitted(const Values& start, const float* x, Weights w) {
    Scales fitted{};
    for (int g = 0; g < kGroupCount; ++g) fitted[g] = fit_group(start, x + g * kGroupSize, w + g * kGroupSize);
    learn(start, fitted, x, w);
  }

  template <typename Weights>
  void learn(const Values& start, Scales wanted, const float* x, Weights w) {
    const auto turn = [&](const Values& of, int reach) {
      const float peak = largest_magnitude(wanted.data(), kGroupCount) / unit_;
      const uint16_t half = float_to_half(2 * peak / static_cast<float>(kScaleLow - kScaleHigh));
      return BookGroups(unit_, half, of, {wanted, reach}, x, w);
    };
    BookGroups now = turn(start, 0);
    BookGroups best = now;
    // Rounding makes a turn worse now and then before a later one is better than all.
    for (int round = 0, worse = 0; round < kRounds && worse < kPatience && std::isfinite(now.error_); ++round) {
      now = turn(now.better_book(x, w, wanted), 0);
      worse = now.error_ < best.error_ ? 0 : worse + 1;
      if (worse == 0) best = now;
    }
    for (int round = 0; round < 2 && best.d != 0 && std::isfinite(best.error_); ++round) best.polish(x, w);
    if (best.error_ < error_) *this = best;
  }

  /// Looks around for whole scales, with the best book and the best d.
  template <typename Weights>
  void polish(const float* x, Weights w) {
    Scales wanted{};
    const auto consider = [&](uint16_t half, const Values& of) {
      const BookGroups trial(unit_, half, of, {wanted, 1}, x, w);
      if (trial.error_ < error_) *this = trial;
    };
    const Values better = better_book(x, w, wanted);
    const float peak = largest_magnitude(wanted.data(), kGroupCount) / unit_;
    consider(float_to_half(2 * peak / static_cast<float>(kScaleLow - kScaleHigh)), better);
    for (int g = 0; g < kGroupCount; ++g) wanted[g] = half_to_float(d) * unit_ * static_cast<float>(scales[g]);
    consider(float_to_half(best_d(x, w)), book);
  }

  /// The d that fits best with everything else as it is.
  template <typename Weights>
  float best_d(const float* x, Weights w) const {
    const auto factor = [this](int i) { return unit_ * static_cast<float>(scales[i / kGroupSize]) * values[i]; };
    const float product = sum_lanes<kElements>([&](int i) { return w[i] * x[i] * factor(i); });
    const float square = sum_lanes<kElements>([&](int i) { return w[i] * factor(i) * factor(i); });
    return square > 0 ? product / square : 0;
  }

  /// The book that fits best with scales and codes as they are, stretched to its full range, and the scales of groups
  /// that go with it.
  template <typename Weights>
  Values better_book(const float* x, Weights w, Scales& wanted) const {
    const float scale = half_to_float(d) * unit_;
    const auto of_group = [&](int i) { return scale * static_cast<float>(scales[i / kGroupSize]); };
    Values better = book;
    float peak = 0;
    for (size_t k = 0; k < kBook; ++k) {
      const float value = book[k];
      const auto share = [&](int i) { return values[i] == value ? w[i] * of_group(i) : 0.0f; };
      const float product = sum_lanes<kElements>([&](int i) { return share(i) * x[i]; });
      const float square = sum_lanes<kElements>([&](int i) { return share(i) * of_group(i); });
      if (square > 0) better[k] = product / square;
      peak = std::max(peak, std::fabs(better[k]));
    }
    if (!(peak > kTiny) || !std::isfinite(peak)) return book;
    const float stretch = peak / kBookPeak;
    for (float& value : better) value = round_near(value / stretch);
    std::ranges::sort(better);
    for (int g = 0; g < kGroupCount; ++g) {
      const float* numbers = x + g * kGroupSize;
      const Weights weights = w + g * kGroupSize;
      const Moved moved = move(better, numbers, weights, stretch * scale * static_cast<float>(scales[g]));
      wanted[g] = move(better, numbers, weights, moved.scale).scale;
    }
    return better;
  }

  float unit_ = 1;
  float error_ = std::numeric_limits<float>::infinity();
};

}  // namespace lamina::codec

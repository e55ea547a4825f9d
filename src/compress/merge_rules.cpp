#include "compress/merge_rules.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace lamina::compress {

namespace {

using Numbers = std::vector<float>;

/// Steele, Lea and Flood 2014, the output function of SplitMix64.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// Where the chances of one model's matrix begin.
uint64_t chance_base(uint64_t seed, const std::string& name, uint64_t model) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return mixed(mixed(seed ^ hash) + model);
}

bool kept_at(uint64_t base, uint64_t index, double density) {
  const uint64_t bits = mixed(base + (index + 1) * 0x9E3779B97F4A7C15ULL);
  return static_cast<double>(bits >> 11) * 0x1p-53 < density;
}

Numbers linear(const MergeRule& rule, std::span<const Numbers> models) {
  Numbers out(models.front().size());
  for (size_t i = 0; i < out.size(); ++i) {
    double sum = 0;
    for (size_t m = 0; m < models.size(); ++m) sum += rule.weights[m] * double{models[m][i]};
    out[i] = static_cast<float>(sum);
  }
  return out;
}

Numbers slerp(const MergeRule& rule, std::span<const Numbers> models) {
  constexpr double kStraight = 1e-4;
  const Numbers& a = models[0];
  const Numbers& b = models[1];
  double product = 0;
  double square_a = 0;
  double square_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * double{b[i]};
    square_a += double{a[i]} * double{a[i]};
    square_b += double{b[i]} * double{b[i]};
  }
  const double both = std::sqrt(square_a * square_b);
  const double angle = both > 0 ? std::acos(std::clamp(product / both, -1.0, 1.0)) : 0;
  double first = 1 - rule.t;
  double second = rule.t;
  // At half a turn every way is as short as any other.
  if (std::sin(angle) > kStraight) {
    first = std::sin((1 - rule.t) * angle) / std::sin(angle);
    second = std::sin(rule.t * angle) / std::sin(angle);
  }
  Numbers out(a.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(first * double{a[i]} + second * double{b[i]});
  return out;
}

/// The smallest of the sizes of differences that are kept.
double least_kept(std::span<const float> base, const Numbers& model, double density) {
  std::vector<double> sizes(model.size());
  for (size_t i = 0; i < sizes.size(); ++i) sizes[i] = std::abs(double{model[i]} - double{base[i]});
  const auto kept =
      std::clamp<int64_t>(std::llround(density * static_cast<double>(sizes.size())), 1, std::ssize(sizes));
  const auto at = sizes.begin() + (kept - 1);
  std::ranges::nth_element(sizes, at, std::greater());
  return *at;
}

Numbers ties(const MergeRule& rule, std::span<const float> base, std::span<const Numbers> models) {
  std::vector<double> least;
  for (const Numbers& model : models) least.push_back(least_kept(base, model, rule.density));
  Numbers out(base.size());
  std::vector<double> kept(models.size());
  for (size_t i = 0; i < out.size(); ++i) {
    double vote = 0;
    for (size_t m = 0; m < models.size(); ++m) {
      const double difference = double{models[m][i]} - double{base[i]};
      kept[m] = std::abs(difference) >= least[m] ? difference : 0;
      vote += rule.weights[m] * kept[m];
    }
    double sum = 0;
    double weight = 0;
    for (size_t m = 0; m < models.size(); ++m) {
      if (kept[m] == 0 || (kept[m] > 0) != (vote > 0) || vote == 0) continue;
      sum += rule.weights[m] * kept[m];
      weight += rule.weights[m];
    }
    out[i] = static_cast<float>(double{base[i]} + (weight != 0 ? rule.scale * sum / weight : 0));
  }
  return out;
}

/// With density 1, all differences as they are.
Numbers add_differences(const MergeRule& rule, std::span<const float> base, std::span<const Numbers> models,
                        const std::string& name) {
  const double density = rule.kind == MergeKind::kDare ? rule.density : 1;
  Numbers out(base.size());
  std::vector<double> sums(base.size());
  for (size_t m = 0; m < models.size(); ++m) {
    const uint64_t chance = chance_base(rule.seed, name, m);
    for (size_t i = 0; i < out.size(); ++i) {
      if (density < 1 && !kept_at(chance, i, density)) continue;
      sums[i] += rule.weights[m] * (double{models[m][i]} - double{base[i]}) / density;
    }
  }
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(double{base[i]} + rule.scale * sums[i]);
  return out;
}

}  // namespace

bool kept_by_chance(uint64_t seed, const std::string& name, uint64_t model, uint64_t index, double density) {
  return kept_at(chance_base(seed, name, model), index, density);
}

std::vector<float> merge_numbers(const MergeRule& rule, std::span<const float> base,
                                 std::span<const std::vector<float>> models, const std::string& name) {
  switch (rule.kind) {
    case MergeKind::kLinear:
    case MergeKind::kRegmean:
      return linear(rule, models);
    case MergeKind::kSlerp:
      return slerp(rule, models);
    case MergeKind::kTies:
      return ties(rule, base, models);
    case MergeKind::kArithmetic:
    case MergeKind::kDare:
      return add_differences(rule, base, models, name);
  }
  return {};
}

}  // namespace lamina::compress

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lamina::compress {

enum class MergeKind { kLinear, kSlerp, kArithmetic, kTies, kDare, kRegmean };

/// How the numbers of one matrix or vector are made of those of several models.
struct MergeRule {
  MergeKind kind = MergeKind::kLinear;
  std::vector<double> weights{};  ///< one for each model
  double t = 0.5;                 ///< kSlerp: from the first model to the second
  double density = 1;             ///< kTies, kDare: share of the differences that is kept
  double scale = 1;               ///< of the sum of differences
  uint64_t seed = 1;              ///< kDare

  /// Whether it adds differences from a base model.
  bool needs_base() const {
    return kind == MergeKind::kArithmetic || kind == MergeKind::kTies || kind == MergeKind::kDare;
  }
};

/// In float64, number by number, `w` the weights and `d` a model's differences from the base:
/// linear, and what regmean has no rows for: sum of w x. slerp: sin((1-t) a) / sin(a) x1 + sin(t a) / sin(a) x2, a the
/// angle between both (Shoemake 1985); the straight way where that is below 1e-4. arithmetic: base + scale * sum of w
/// d. ties: of each model the largest `density` of its d by size (at least one; all of those that equal the smallest of
/// them), of these, where their sign is that of the sum of w d, the mean weighed by w; base + scale * that. dare: each
/// d kept with probability `density`, by kept_by_chance(), and divided by it; base + scale * sum of w d. `base` may be
/// empty for linear and slerp.
std::vector<float> merge_numbers(const MergeRule& rule, std::span<const float> base,
                                 std::span<const std::vector<float>> models, const std::string& name);

/// Whether dare keeps number `index` of the matrix `name` of a model: the upper 53 bits of splitmix64 over seed, name
/// (FNV-1a) and model, at that index, as a fraction, lie below the density.
bool kept_by_chance(uint64_t seed, const std::string& name, uint64_t model, uint64_t index, double density);

}  // namespace lamina::compress

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/result.h"

namespace lamina::kernels {

/// Rotary position embedding as a model's configuration describes it. Su et al. 2021.
struct RopeOptions {
  int64_t rotary = 0;               ///< rotated dimensions of a head, even
  double base = 10000.0;            ///< theta
  std::string scaling = "default";  ///< default, linear, llama3, yarn or longrope
  double factor = 1.0;              ///< longrope: max_position_embeddings / original_context
  double original_context = 0;      ///< original_max_position_embeddings: llama3, yarn, longrope
  double low_freq_factor = 1.0;     ///< llama3
  double high_freq_factor = 4.0;    ///< llama3
  double beta_fast = 32.0;          ///< yarn
  double beta_slow = 1.0;           ///< yarn
  double mscale = 0;                ///< yarn as in DeepSeek models; 0: absent
  double mscale_all_dim = 0;        ///< likewise
  bool truncate = true;             ///< yarn: correction range in whole dimensions
  double attention_factor = 0;      ///< 0: what yarn or longrope define, else this
  /// Divisors of the inverse frequencies, rotary/2 or none: longrope's short or long list, or a GGUF file's rope_freqs.
  std::vector<double> factors;
  /// longrope: the list that takes their place in contexts above original_context.
  std::vector<double> long_factors;

  bool operator==(const RopeOptions&) const = default;
};

/// What the table is made from: frequencies[rotary / 2] in radians per position, and a factor on cosines and sines.
struct RopeFrequencies {
  std::vector<float> frequencies;
  float attention_factor = 1.0F;
  std::vector<float> long_frequencies;  ///< in contexts above original_context; empty when they are the same
  double original_context = 0;

  /// What a runner of that context turns by: one choice for all positions, so that a longer text changes no earlier
  /// row.
  RopeFrequencies in_context(int64_t context) const;
};

/// Inverse frequencies by the definitions of the transformers library (modeling_rope_utils). kInvalid for impossible
/// numbers, kUnsupported for a scaling that is unknown or depends on the length of the text (dynamic).
core::Result<RopeFrequencies> rope_frequencies(const RopeOptions& options);

/// Fills cosines and sines [count][frequencies] for positions first..first+count-1. Angles in double precision.
void rope_table(const RopeFrequencies& rope, int64_t first, int64_t count, float* cosines, float* sines);

/// Which two numbers of a head turn together: i and i + rotary/2 (transformers), or 2i and 2i+1 (GGUF's llama).
enum class RopeOrder { kHalves, kPairs };

/// Turns the first `rotary` numbers of each of `heads` heads in place; the rest of a head stays.
/// cosines and sines are the position's table rows of rotary/2 numbers.
struct RopeArgs {
  float* x = nullptr;
  int64_t heads = 1;
  int64_t head_stride = 0;  ///< floats between heads
  int64_t rotary = 0;
  RopeOrder order = RopeOrder::kHalves;
  const float* cosines = nullptr;
  const float* sines = nullptr;
};
void rope(const RopeArgs& args);

/// A row of the table of rope kernels. All rows give the same bits: fma(-b, sin, a*cos) and fma(a, sin, b*cos).
struct RopeVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::rope) rope = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const RopeVariant* const> rope_variants();

namespace ref {
extern const RopeVariant kRope;
}
namespace cpu {
extern const RopeVariant kRopeAvx2;
extern const RopeVariant kRopeAvx512;
}  // namespace cpu

}  // namespace lamina::kernels

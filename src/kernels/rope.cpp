#include "kernels/rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "kernels/rope_factors.h"
#include "kernels/variant.h"

namespace lamina::kernels {

namespace {

using core::ErrorCode;
using core::Status;

/// Inverse frequencies in double precision while a scaling works on them.
struct Draft {
  std::vector<double> inverse;
  double attention_factor = 1.0;
};

Status scale_default(const RopeOptions&, Draft&) {
  return {};
}

Status scale_linear(const RopeOptions& options, Draft& draft) {
  for (double& f : draft.inverse) f /= options.factor;
  return {};
}

/// By divisors, so that a file which keeps these and one which keeps the rule turn alike to the last bit.
Status scale_llama3(const RopeOptions& options, Draft& draft) {
  LAMINA_ASSIGN(const std::vector<float> factors, llama3_factors(options));
  for (size_t i = 0; i < draft.inverse.size(); ++i) draft.inverse[i] /= static_cast<double>(factors[i]);
  return {};
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

/// Peng et al. 2023, equations 23 to 25: a ramp between kept and stretched frequencies.
Status scale_yarn(const RopeOptions& options, Draft& draft) {
  if (!(options.original_context > 0 && options.base > 1 && options.beta_fast > 0 && options.beta_slow > 0)) {
    return core::fail(ErrorCode::kInvalid, "rope scaling yarn",
                      "original context {}, base {}, beta {} and {}; all positive and base above 1 expected",
                      options.original_context, options.base, options.beta_fast, options.beta_slow);
  }
  const auto size = static_cast<double>(options.rotary);
  const auto dimension = [&](double turns) {
    return size * std::log(options.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(options.base));
  };
  double low = dimension(options.beta_fast);
  double high = dimension(options.beta_slow);
  if (options.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, size - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < draft.inverse.size(); ++i) {
    const double stretch = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    draft.inverse[i] = draft.inverse[i] / options.factor * stretch + draft.inverse[i] * (1 - stretch);
  }
  const bool both = options.mscale != 0 && options.mscale_all_dim != 0;
  draft.attention_factor =
      both ? yarn_mscale(options.factor, options.mscale) / yarn_mscale(options.factor, options.mscale_all_dim)
           : yarn_mscale(options.factor, 1.0);
  return {};
}

/// Ding et al. 2024; the divisors themselves are applied to every scaling alike.
Status scale_longrope(const RopeOptions& options, Draft& draft) {
  if (options.factors.empty() || !(options.original_context > 1)) {
    return core::fail(ErrorCode::kInvalid, "rope scaling longrope",
                      "{} factors and original context {}; one factor per frequency and a context above 1 expected",
                      options.factors.size(), options.original_context);
  }
  if (options.factor > 1) {
    draft.attention_factor = std::sqrt(1 + std::log(options.factor) / std::log(options.original_context));
  }
  return {};
}

struct ScalingRow {
  std::string_view name;
  Status (*scale)(const RopeOptions& options, Draft& draft);
};
constexpr std::array kScalings{ScalingRow{"default", scale_default}, ScalingRow{"linear", scale_linear},
                               ScalingRow{"llama3", scale_llama3}, ScalingRow{"yarn", scale_yarn},
                               ScalingRow{"longrope", scale_longrope}};

Status check_factors(const std::vector<double>& factors, int64_t pairs) {
  if (!factors.empty() && factors.size() != static_cast<size_t>(pairs)) {
    return core::fail(ErrorCode::kInvalid, "rope", "{} frequency factors; {} expected, one per rotated pair",
                      factors.size(), pairs);
  }
  for (const double factor : factors) {
    if (!(factor > 0)) return core::fail(ErrorCode::kInvalid, "rope", "frequency factor {}; above 0 expected", factor);
  }
  return {};
}

Status check(const RopeOptions& options) {
  if (options.rotary < 2 || options.rotary % 2 != 0) {
    return core::fail(ErrorCode::kInvalid, "rope", "{} rotated dimensions; a positive even number expected",
                      options.rotary);
  }
  if (!(options.base > 0 && options.factor > 0 && std::isfinite(options.base) && std::isfinite(options.factor))) {
    return core::fail(ErrorCode::kInvalid, "rope", "base {} and factor {}; positive numbers expected", options.base,
                      options.factor);
  }
  LAMINA_CHECK_OK(check_factors(options.factors, options.rotary / 2));
  return check_factors(options.long_factors, options.rotary / 2);
}

std::vector<double> inverse_frequencies(const RopeOptions& options) {
  std::vector<double> inverse;
  for (int64_t i = 0; i < options.rotary / 2; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(options.rotary);
    inverse.push_back(1.0 / std::pow(options.base, exponent));
  }
  return inverse;
}

const RopeVariant& chosen() {
  static const RopeVariant& row = strongest_row(rope_variants());
  return row;
}

}  // namespace

/// Long waves are stretched by `factor`, short ones kept, those between blended.
core::Result<std::vector<float>> llama3_factors(const RopeOptions& options) {
  const double low = options.low_freq_factor;
  const double high = options.high_freq_factor;
  if (!(options.original_context > 0 && low > 0 && high > low)) {
    return core::fail(ErrorCode::kInvalid, "rope scaling llama3",
                      "original context {}, low {} and high {} frequency factor; a positive context and 0 < low < high "
                      "expected",
                      options.original_context, low, high);
  }
  std::vector<float> factors;
  for (const double f : inverse_frequencies(options)) {
    const double turns = options.original_context * f / (2 * std::numbers::pi);
    const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - keep) / options.factor + keep)));
  }
  return factors;
}

core::Result<RopeFrequencies> rope_frequencies(const RopeOptions& options) {
  LAMINA_CHECK_OK(check(options));
  const auto* scaling = std::ranges::find(kScalings, std::string_view(options.scaling), &ScalingRow::name);
  if (scaling == kScalings.end()) {
    return core::fail(ErrorCode::kUnsupported, "rope",
                      "scaling \"{}\"; default, linear, llama3, yarn or longrope "
                      "expected",
                      options.scaling);
  }
  Draft draft;
  draft.inverse = inverse_frequencies(options);
  LAMINA_CHECK_OK(scaling->scale(options, draft));
  RopeFrequencies result;
  for (size_t i = 0; i < draft.inverse.size(); ++i) {
    const double divisor = options.factors.empty() ? 1.0 : options.factors[i];
    result.frequencies.push_back(static_cast<float>(draft.inverse[i] / divisor));
    if (!options.long_factors.empty()) {
      result.long_frequencies.push_back(static_cast<float>(draft.inverse[i] / options.long_factors[i]));
    }
  }
  result.original_context = options.original_context;
  const double factor = options.attention_factor > 0 ? options.attention_factor : draft.attention_factor;
  result.attention_factor = static_cast<float>(factor);
  return result;
}

RopeFrequencies RopeFrequencies::in_context(int64_t context) const {
  RopeFrequencies chosen = *this;
  if (!long_frequencies.empty() && static_cast<double>(context) > original_context) {
    chosen.frequencies = long_frequencies;
  }
  return chosen;
}

void rope_table(const RopeFrequencies& rope, int64_t first, int64_t count, float* cosines, float* sines) {
  const auto half = static_cast<int64_t>(rope.frequencies.size());
  const auto factor = static_cast<double>(rope.attention_factor);
  for (int64_t position = 0; position < count; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(first + position) * static_cast<double>(rope.frequencies[static_cast<size_t>(i)]);
      cosines[position * half + i] = static_cast<float>(std::cos(angle) * factor);
      sines[position * half + i] = static_cast<float>(std::sin(angle) * factor);
    }
  }
}

std::span<const RopeVariant* const> rope_variants() {
  static constexpr std::array kRows{&ref::kRope, LAMINA_X86_ROWS(&cpu::kRopeAvx2, &cpu::kRopeAvx512)};
  return kRows;
}

void rope(const RopeArgs& args) {
  chosen().rope(args);
}

}  // namespace lamina::kernels

#include "layers/rope.h"

#include <algorithm>

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

/// Divisors of the frequencies, one per pair of dimensions: a list, or the name of a tensor that the file may have.
Result<std::vector<double>> read_factors(Record& record, Weights& weights, const std::string& key, int64_t pairs) {
  if (!record.is_text(key)) return record.numbers(key);
  LAMINA_ASSIGN(const std::string name, record.text(key));
  if (!weights.has(name)) return std::vector<double>();
  LAMINA_ASSIGN(const std::vector<float> factors, weights.vector(name, pairs));
  return std::vector<double>(factors.begin(), factors.end());
}

Result<kernels::RopeOptions> read_options(Record& record, Weights& weights, int64_t head_size) {
  kernels::RopeOptions options;
  LAMINA_ASSIGN(options.rotary, record.size("dims"));
  if (options.rotary > head_size || options.rotary % 2 != 0) {
    return fail(ErrorCode::kCorrupt, record.place(),
                "{} rotary dimensions; an even number up to the head size {} expected", options.rotary, head_size);
  }
  LAMINA_ASSIGN(options.scaling, record.text("kind"));
  if (options.scaling == "none") options.scaling = "default";
  LAMINA_ASSIGN(options.base, record.number("base"));
  LAMINA_ASSIGN(options.factor, record.number("factor"));
  LAMINA_ASSIGN(options.original_context, record.number("original_context"));
  LAMINA_ASSIGN(options.low_freq_factor, record.number("low_frequency"));
  LAMINA_ASSIGN(options.high_freq_factor, record.number("high_frequency"));
  LAMINA_ASSIGN(options.beta_fast, record.number("beta_fast"));
  LAMINA_ASSIGN(options.beta_slow, record.number("beta_slow"));
  LAMINA_ASSIGN(options.attention_factor, record.number_or("attention_factor", 0));
  LAMINA_ASSIGN(options.mscale, record.number_or("mscale", 0));
  LAMINA_ASSIGN(options.mscale_all_dim, record.number_or("mscale_all_dim", 0));
  LAMINA_ASSIGN(options.truncate, record.flag_or("truncate", true));
  LAMINA_ASSIGN(options.factors, read_factors(record, weights, "factors", options.rotary / 2));
  LAMINA_ASSIGN(options.long_factors, read_factors(record, weights, "long_factors", options.rotary / 2));
  return options;
}

}  // namespace

Result<Rotation> Rotation::make(Record record, BuildContext& context, int64_t head_size) {
  Rotation rotation;
  LAMINA_ASSIGN(const std::string ordering, record.text("ordering"));
  if (ordering != "half" && ordering != "interleaved") {
    return fail(ErrorCode::kInvalid, record.place(), "ordering \"{}\" is unknown; half or interleaved expected",
                ordering);
  }
  rotation.order_ = ordering == "half" ? kernels::RopeOrder::kHalves : kernels::RopeOrder::kPairs;
  LAMINA_ASSIGN(const kernels::RopeOptions options, read_options(record, context.weights, head_size));
  LAMINA_CHECK_OK(record.done());
  const auto found = std::ranges::find(context.ropes, options);
  rotation.table_ = static_cast<size_t>(found - context.ropes.begin());
  if (found == context.ropes.end()) context.ropes.push_back(options);
  return rotation;
}

void Rotation::apply(const Step& step, int64_t begin, int64_t end, float* x, int64_t heads, int64_t head_size) const {
  const RopeAngles& angles = step.ropes[table_];
  for (int64_t row = begin; row < end; ++row) {
    kernels::rope({.x = x + (row - begin) * heads * head_size,
                   .heads = heads,
                   .head_stride = head_size,
                   .rotary = 2 * angles.half_dims,
                   .order = order_,
                   .cosines = angles.cosines + row * angles.half_dims,
                   .sines = angles.sines + row * angles.half_dims});
  }
}

}  // namespace lamina::layers

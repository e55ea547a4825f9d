#include "layers/border.h"

#include <array>

#include "layers/rows.h"

namespace lamina::layers {

using core::Result;

Result<Border> Border::make(Record& record, Weights& weights, int64_t hidden) {
  Border border;
  border.hidden_ = hidden;
  LAMINA_ASSIGN(const double multiplier, record.number_or("multiplier", 1));
  border.multiplier_ = static_cast<float>(multiplier);
  LAMINA_ASSIGN(std::optional<Record> before, record.optional_child("norm"));
  if (before) {
    LAMINA_ASSIGN(border.before_, Norm::make(*before, weights, hidden));
  }
  LAMINA_ASSIGN(std::optional<Record> after, record.optional_child("post_norm"));
  if (after) {
    LAMINA_ASSIGN(border.after_, Norm::make(*after, weights, hidden));
  }
  LAMINA_ASSIGN(std::optional<Record> stream, record.optional_child("stream_norm"));
  if (stream) {
    LAMINA_ASSIGN(border.stream_, Norm::make(*stream, weights, hidden));
  }
  return border;
}

const float* Border::enter(Step& step, const float* input) const {
  if (!before_) return input;
  auto* normed = step.arena.take<float>(step.rows * hidden_);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    before_->apply(input + begin * hidden_, normed + begin * hidden_, end - begin);
  });
  step.lap(Op::kNorm);
  return normed;
}

void Border::leave(Step& step, const Linear& last, const float* x, float* stream) const {
  if (after_ || multiplier_ != 1) {
    auto* sum = step.arena.take<float>(step.rows * hidden_);
    run_products(step, std::array{Product{.linear = &last, .y = sum, .y_stride = hidden_}}, x, step.rows);
    add(step, sum, stream);
    return;
  }
  run_products(step, std::array{Product{.linear = &last, .y = stream, .y_stride = hidden_, .accumulate = true}}, x,
               step.rows);
  if (!stream_) return;
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    stream_->apply(stream + begin * hidden_, stream + begin * hidden_, end - begin);
  });
  step.lap(Op::kNorm);
}

void Border::add(Step& step, float* sum, float* stream) const {
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    float* rows = stream + begin * hidden_;
    if (after_) after_->apply(sum + begin * hidden_, sum + begin * hidden_, end - begin);
    kernels::add_scaled(sum + begin * hidden_, multiplier_, (end - begin) * hidden_, rows);
    if (stream_) stream_->apply(rows, rows, end - begin);
  });
  step.lap(Op::kNorm);
}

int64_t Border::arena_bytes(int64_t rows) const {
  const auto one = static_cast<int64_t>(Arena::padded(rows * hidden_ * 4));
  return (before_ ? one : 0) + (after_ || multiplier_ != 1 ? one : 0);
}

Result<kernels::Activation> find_activation(const std::string& name, const std::string& place) {
  using kernels::Activation;
  struct Known {
    std::string_view name;
    Activation activation;
  };
  static constexpr std::array kKnown{
      Known{"silu", Activation::kSilu},
      Known{"swish", Activation::kSilu},
      Known{"gelu_pytorch_tanh", Activation::kGeluTanh},
      Known{"gelu_new", Activation::kGeluTanh},
      Known{"gelu", Activation::kGeluErf},
      Known{"quick_gelu", Activation::kGeluQuick},
      Known{"relu", Activation::kRelu},
      Known{"relu2", Activation::kRelu2},
      Known{"tanh", Activation::kTanh},
  };
  std::string names;
  for (const Known& known : kKnown) {
    if (known.name == name) return known.activation;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return core::fail(core::ErrorCode::kUnsupported, place, "activation \"{}\" is unknown; one of {} expected", name,
                    names);
}

}  // namespace lamina::layers

#include <array>

#include "kernels/activation.h"
#include "layers/border.h"
#include "layers/convolution.h"
#include "layers/layer.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

/// stream += out(c * convolution(b * x)) with b, c, x = in(norm(input)), hidden numbers each. Keeps the convolution's
/// last inputs. Liquid AI 2025 (LFM2).
class ShortConvolution : public Sublayer {
 public:
  /// Reads {hidden, in, conv: {weight, bias?, width}, out} and what Border reads; the rows of `in` make b, then c, then
  /// x.
  static core::Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context) {
    auto layer = std::make_unique<ShortConvolution>();
    LAMINA_ASSIGN(layer->hidden_, record.size("hidden"));
    LAMINA_ASSIGN(layer->border_, Border::make(record, context.weights, layer->hidden_));
    LAMINA_ASSIGN(Record in, record.child("in"));
    LAMINA_ASSIGN(layer->in_, context.weights.linear(in, 3 * layer->hidden_, layer->hidden_));
    LAMINA_ASSIGN(Record convolution, record.child("conv"));
    LAMINA_ASSIGN(layer->convolution_, Convolution::make(convolution, context.weights, layer->hidden_));
    LAMINA_ASSIGN(Record out, record.child("out"));
    LAMINA_ASSIGN(layer->out_, context.weights.linear(out, layer->hidden_, layer->hidden_));
    return layer;
  }

  void forward(Step& step, const float* input, float* stream) const override {
    const float* normed = border_.enter(step, input);
    auto* parts = step.arena.take<float>(step.rows * 3 * hidden_);
    auto* inputs = step.arena.take<float>(step.rows * hidden_);
    auto* out = step.arena.take<float>(step.rows * hidden_);
    run_products(step, std::array{Product{.linear = in_.get(), .y = parts, .y_stride = 3 * hidden_}}, normed,
                 step.rows);
    split_columns(step.pool, step.rows, hidden_, [&](int64_t begin, int64_t end) {
      for (int64_t row = 0; row < step.rows; ++row) {
        const float* own = parts + row * 3 * hidden_ + begin;
        kernels::multiply(own, own + 2 * hidden_, end - begin, inputs + row * hidden_ + begin);
      }
      for (const RowGroup& group : step.groups) {
        convolution_.apply({.rows = group.rows,
                            .x = inputs + group.first_row * hidden_,
                            .x_stride = hidden_,
                            .state = step.cache.state(step.visit, group.sequence),
                            .out = out + group.first_row * hidden_,
                            .out_stride = hidden_},
                           begin, end);
      }
      for (int64_t row = 0; row < step.rows; ++row) {
        float* own = out + row * hidden_ + begin;
        kernels::multiply(own, parts + (row * 3 + 1) * hidden_ + begin, end - begin, own);
      }
    });
    step.lap(Op::kConvolution);
    border_.leave(step, *out_, out, stream);
  }

  int64_t arena_bytes(const StepLimits& limits) const override {
    const auto one = static_cast<int64_t>(Arena::padded(limits.rows * hidden_ * 4));
    return border_.arena_bytes(limits.rows) + 2 * one +
           static_cast<int64_t>(Arena::padded(limits.rows * 3 * hidden_ * 4)) +
           product_bytes(std::array<const Linear*, 1>{in_.get()}, limits.rows) +
           product_bytes(std::array<const Linear*, 1>{out_.get()}, limits.rows);
  }

  int64_t scratch_bytes(const StepLimits& limits) const override {
    return product_scratch_bytes(std::array<const Linear*, 2>{in_.get(), out_.get()}, limits.rows);
  }

  cache::VisitShape cache_shape() const override { return {.state_floats = convolution_.state_floats()}; }
  std::vector<const Linear*> linears() const override { return {in_.get(), out_.get()}; }

 private:
  int64_t hidden_ = 0;
  Border border_;
  Convolution convolution_;
  std::shared_ptr<const Linear> in_;
  std::shared_ptr<const Linear> out_;
};

}  // namespace

core::Result<std::unique_ptr<Sublayer>> make_short_convolution(Record& record, BuildContext& context) {
  return ShortConvolution::make(record, context);
}

}  // namespace lamina::layers

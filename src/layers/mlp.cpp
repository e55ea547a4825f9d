#include <array>

#include "kernels/activation.h"
#include "layers/border.h"
#include "layers/layer.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

/// stream += down(activation(up(norm(input)))). Vaswani et al. 2017.
class Mlp : public Sublayer {
 public:
  /// Reads {hidden, intermediate, activation, up, down} and what Border reads.
  static core::Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context) {
    auto mlp = std::make_unique<Mlp>();
    LAMINA_ASSIGN(const int64_t hidden, record.size("hidden"));
    LAMINA_ASSIGN(mlp->intermediate_, record.size("intermediate"));
    LAMINA_ASSIGN(const std::string activation, record.text("activation"));
    LAMINA_ASSIGN(mlp->activation_, find_activation(activation, record.place()));
    LAMINA_ASSIGN(mlp->border_, Border::make(record, context.weights, hidden));
    LAMINA_ASSIGN(Record up, record.child("up"));
    LAMINA_ASSIGN(mlp->up_, context.weights.linear(up, mlp->intermediate_, hidden));
    LAMINA_ASSIGN(Record down, record.child("down"));
    LAMINA_ASSIGN(mlp->down_, context.weights.linear(down, hidden, mlp->intermediate_));
    return mlp;
  }

  void forward(Step& step, const float* input, float* stream) const override {
    const float* normed = border_.enter(step, input);
    auto* inner = step.arena.take<float>(step.rows * intermediate_);
    run_products(step, std::array{Product{.linear = up_.get(), .y = inner, .y_stride = intermediate_}}, normed,
                 step.rows);
    split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
      float* rows = inner + begin * intermediate_;
      kernels::activate(activation_, rows, (end - begin) * intermediate_, rows);
    });
    step.lap(Op::kActivation);
    border_.leave(step, *down_, inner, stream);
  }

  int64_t arena_bytes(const StepLimits& limits) const override {
    return border_.arena_bytes(limits.rows) + static_cast<int64_t>(Arena::padded(limits.rows * intermediate_ * 4)) +
           product_bytes(std::array<const Linear*, 1>{up_.get()}, limits.rows) +
           product_bytes(std::array<const Linear*, 1>{down_.get()}, limits.rows);
  }

  int64_t scratch_bytes(const StepLimits& limits) const override {
    return product_scratch_bytes(std::array<const Linear*, 2>{up_.get(), down_.get()}, limits.rows);
  }

  std::vector<const Linear*> linears() const override { return {up_.get(), down_.get()}; }

 private:
  int64_t intermediate_ = 0;
  kernels::Activation activation_ = kernels::Activation::kSilu;
  Border border_;
  std::shared_ptr<const Linear> up_;
  std::shared_ptr<const Linear> down_;
};

}  // namespace

core::Result<std::unique_ptr<Sublayer>> make_mlp(Record& record, BuildContext& context) {
  return Mlp::make(record, context);
}

}  // namespace lamina::layers

#include <array>

#include "layers/border.h"
#include "layers/gating.h"
#include "layers/layer.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

/// stream += down(activation(gate(n)) * up(n)) with n = norm(input). Shazeer 2020.
class GatedMlp : public Sublayer {
 public:
  static core::Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context) {
    auto mlp = std::make_unique<GatedMlp>();
    LAMINA_ASSIGN(mlp->hidden_, record.size("hidden"));
    LAMINA_ASSIGN(mlp->intermediate_, record.size("intermediate"));
    LAMINA_ASSIGN(mlp->gating_, Gating::make(record));
    LAMINA_ASSIGN(mlp->border_, Border::make(record, context.weights, mlp->hidden_));
    LAMINA_ASSIGN(Record gate, record.child("gate"));
    LAMINA_ASSIGN(mlp->gate_, context.weights.linear(gate, mlp->intermediate_, mlp->hidden_));
    LAMINA_ASSIGN(Record up, record.child("up"));
    LAMINA_ASSIGN(mlp->up_, context.weights.linear(up, mlp->intermediate_, mlp->hidden_));
    LAMINA_ASSIGN(Record down, record.child("down"));
    LAMINA_ASSIGN(mlp->down_, context.weights.linear(down, mlp->hidden_, mlp->intermediate_));
    return mlp;
  }

  void forward(Step& step, const float* input, float* stream) const override {
    const float* normed = border_.enter(step, input);
    auto* gate = step.arena.take<float>(step.rows * intermediate_);
    auto* up = step.arena.take<float>(step.rows * intermediate_);
    const std::array products{Product{.linear = gate_.get(), .y = gate, .y_stride = intermediate_},
                              Product{.linear = up_.get(), .y = up, .y_stride = intermediate_}};
    run_products(step, products, normed, step.rows);
    split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
      gating_.apply(gate + begin * intermediate_, up + begin * intermediate_, (end - begin) * intermediate_);
    });
    step.lap(Op::kActivation);
    border_.leave(step, *down_, gate, stream);
  }

  int64_t arena_bytes(const StepLimits& limits) const override {
    const std::array<const Linear*, 2> first{gate_.get(), up_.get()};
    const std::array<const Linear*, 1> second{down_.get()};
    return border_.arena_bytes(limits.rows) + 2 * static_cast<int64_t>(Arena::padded(limits.rows * intermediate_ * 4)) +
           product_bytes(first, limits.rows) + product_bytes(second, limits.rows);
  }

  int64_t scratch_bytes(const StepLimits& limits) const override {
    return product_scratch_bytes(std::array<const Linear*, 3>{gate_.get(), up_.get(), down_.get()}, limits.rows);
  }

  std::vector<const Linear*> linears() const override { return {gate_.get(), up_.get(), down_.get()}; }

 private:
  int64_t hidden_ = 0;
  int64_t intermediate_ = 0;
  Gating gating_;
  Border border_;
  std::shared_ptr<const Linear> gate_;
  std::shared_ptr<const Linear> up_;
  std::shared_ptr<const Linear> down_;
};

}  // namespace

core::Result<std::unique_ptr<Sublayer>> make_gated_mlp(Record& record, BuildContext& context) {
  return GatedMlp::make(record, context);
}

}  // namespace lamina::layers

#include <array>
#include <cmath>

#include "kernels/activation.h"
#include "kernels/quantize.h"
#include "layers/border.h"
#include "layers/gating.h"
#include "layers/layer.h"
#include "layers/routed.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

/// The gated MLP that every row goes through beside its experts, weighted by a sigmoid gate if there is one.
struct Shared {
  int64_t intermediate = 0;
  std::vector<float> router;  ///< [hidden], or empty: weight 1
  std::shared_ptr<const Linear> gate;
  std::shared_ptr<const Linear> up;
  std::shared_ptr<const Linear> down;
};

/// stream += sum over a row's chosen experts of share * expert(n), and the shared expert, with n = norm(input). The
/// sum runs in the router's order, best first. Shazeer et al. 2017; shared expert: Dai et al. 2024.
class Moe : public Sublayer {
 public:
  static Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context);

  void forward(Step& step, const float* input, float* stream) const override;
  int64_t arena_bytes(const StepLimits& limits) const override;
  int64_t scratch_bytes(const StepLimits& limits) const override {
    return product_scratch_bytes(linears(), limits.rows);
  }
  std::vector<const Linear*> linears() const override;
  Experts experts() const override;

 private:
  Result<ExpertLinears> read_experts(Record& record, const std::string& key, BuildContext& context) const;
  core::Status read_shared(Record& record, BuildContext& context);
  void record_inputs(const Step& step, const Routes& routes, const float* x) const;
  void record_inner(const Step& step, const Routes& routes, const float* inner) const;
  const std::byte* gather(Step& step, const Linear& reader, const Routes& routes, const float* x) const;
  void add_shared(Step& step, const float* normed, float* out) const;

  int64_t hidden_ = 0;
  int64_t intermediate_ = 0;
  RouterOptions options_;
  Gating gating_;
  Border border_;
  std::shared_ptr<const Linear> router_;
  ExpertLinears gate_;
  ExpertLinears up_;
  ExpertLinears down_;
  std::optional<Shared> shared_;
};

Result<std::unique_ptr<Sublayer>> Moe::make(Record& record, BuildContext& context) {
  auto moe = std::make_unique<Moe>();
  Moe& self = *moe;
  LAMINA_ASSIGN(self.hidden_, record.size("hidden"));
  LAMINA_ASSIGN(self.intermediate_, record.size("intermediate"));
  LAMINA_ASSIGN(self.options_, read_router_options(record, context.weights));
  LAMINA_ASSIGN(self.gating_, Gating::make(record));
  LAMINA_ASSIGN(self.border_, Border::make(record, context.weights, self.hidden_));
  LAMINA_ASSIGN(Record router, record.child("router"));
  LAMINA_ASSIGN(self.router_, context.weights.linear(router, self.options_.experts, self.hidden_));
  LAMINA_ASSIGN(self.gate_, self.read_experts(record, "gate", context));
  LAMINA_ASSIGN(self.up_, self.read_experts(record, "up", context));
  LAMINA_ASSIGN(self.down_, self.read_experts(record, "down", context));
  LAMINA_CHECK_OK(self.read_shared(record, context));
  return moe;
}

Result<ExpertLinears> Moe::read_experts(Record& record, const std::string& key, BuildContext& context) const {
  const int64_t outputs = key == "down" ? hidden_ : intermediate_;
  const int64_t inputs = key == "down" ? intermediate_ : hidden_;
  LAMINA_ASSIGN(const Record experts, record.child(key));
  ExpertLinears all;
  for (int64_t i = 0; i < options_.experts; ++i) {
    LAMINA_ASSIGN(std::shared_ptr<const Linear> one,
                  context.weights.expert(experts, i, options_.experts, outputs, inputs));
    all.push_back(std::move(one));
    if (kernels::activation_layout(all.back()->layout()) != kernels::activation_layout(all.front()->layout())) {
      return fail(
          ErrorCode::kUnsupported, experts.place(),
          "the number format of expert {} reads other activations than that of expert 0; one kind for all expected", i);
    }
  }
  return all;
}

core::Status Moe::read_shared(Record& record, BuildContext& context) {
  LAMINA_ASSIGN(std::optional<Record> shared, record.optional_child("shared"));
  if (!shared) return {};
  LAMINA_ASSIGN(const int64_t intermediate, shared->size_or_zero("intermediate"));
  if (intermediate == 0) return {};
  shared_.emplace();
  shared_->intermediate = intermediate;
  LAMINA_ASSIGN(const std::optional<std::string> router, shared->optional_text("router"));
  if (router) {
    LAMINA_ASSIGN(shared_->router, context.weights.vector(*router, hidden_));
  }
  LAMINA_ASSIGN(const Record gate, shared->child("gate"));
  LAMINA_ASSIGN(shared_->gate, context.weights.linear(gate, shared_->intermediate, hidden_));
  LAMINA_ASSIGN(const Record up, shared->child("up"));
  LAMINA_ASSIGN(shared_->up, context.weights.linear(up, shared_->intermediate, hidden_));
  LAMINA_ASSIGN(const Record down, shared->child("down"));
  LAMINA_ASSIGN(shared_->down, context.weights.linear(down, hidden_, shared_->intermediate));
  return shared->done();
}

/// The rows that the places come from, in the form that `reader` reads.
const std::byte* Moe::gather(Step& step, const Linear& reader, const Routes& routes, const float* x) const {
  const kernels::ActivationLayout layout = kernels::activation_layout(reader.layout());
  const int64_t places = step.rows * routes.used;
  auto* out = step.arena.take<std::byte>(layout.row_bytes * places);
  split_rows(step.pool, places, [&](int64_t begin, int64_t end) {
    for (int64_t place = begin; place < end; ++place) {
      kernels::quantize_rows(layout, x + routes.sources[place] * hidden_, hidden_, 1, out + place * layout.row_bytes);
    }
  });
  step.lap(Op::kQuantize);
  return out;
}

/// Which experts the rows go to, and the rows that each expert's first matrices read.
void Moe::record_inputs(const Step& step, const Routes& routes, const float* x) const {
  if (step.recorder == nullptr) return;
  step.recorder->record_experts({.layer = step.layer,
                                 .rows = step.rows,
                                 .used = routes.used,
                                 .experts = options_.experts,
                                 .chosen = routes.experts,
                                 .shares = routes.shares});
  for (int64_t e = 0; e < options_.experts; ++e) {
    const auto expert = static_cast<size_t>(e);
    for (int32_t place = routes.first[e]; place < routes.first[e + 1]; ++place) {
      step.recorder->record(std::array<const Linear*, 2>{gate_[expert].get(), up_[expert].get()},
                            {.data = x + routes.sources[place] * hidden_, .stride = hidden_, .count = 1});
    }
  }
}

/// The rows that each expert's last matrix reads.
void Moe::record_inner(const Step& step, const Routes& routes, const float* inner) const {
  if (step.recorder == nullptr) return;
  for (int64_t e = 0; e < options_.experts; ++e) {
    const int64_t count = routes.first[e + 1] - routes.first[e];
    if (count == 0) continue;
    step.recorder->record(std::array<const Linear*, 1>{down_[static_cast<size_t>(e)].get()},
                          {.data = inner + routes.first[e] * intermediate_, .stride = intermediate_, .count = count});
  }
}

void Moe::forward(Step& step, const float* input, float* stream) const {
  const float* normed = border_.enter(step, input);
  auto* logits = step.arena.take<float>(step.rows * options_.experts);
  run_products(step, std::array{Product{.linear = router_.get(), .y = logits, .y_stride = options_.experts}}, normed,
               step.rows);
  const Routes routes = route(step, options_, logits);
  record_inputs(step, routes, normed);

  const int64_t places = step.rows * options_.used;
  auto* gate = step.arena.take<float>(places * intermediate_);
  auto* up = step.arena.take<float>(places * intermediate_);
  const std::byte* gate_rows = gather(step, *gate_[0], routes, normed);
  const bool alike = kernels::activation_layout(gate_[0]->layout()) == kernels::activation_layout(up_[0]->layout());
  const std::byte* up_rows = alike ? gate_rows : gather(step, *up_[0], routes, normed);
  run_routed(step,
             std::array{RoutedProduct{.experts = &gate_, .activations = gate_rows, .y = gate},
                        RoutedProduct{.experts = &up_, .activations = up_rows, .y = up}},
             routes);

  const kernels::ActivationLayout inner = kernels::activation_layout(down_[0]->layout());
  auto* inner_rows = step.arena.take<std::byte>(inner.row_bytes * places);
  split_rows(step.pool, places, [&](int64_t begin, int64_t end) {
    float* own = gate + begin * intermediate_;
    gating_.apply(own, up + begin * intermediate_, (end - begin) * intermediate_);
    kernels::quantize_rows(inner, own, intermediate_, end - begin, inner_rows + begin * inner.row_bytes);
  });
  step.lap(Op::kActivation);
  record_inner(step, routes, gate);
  auto* parts = step.arena.take<float>(places * hidden_);
  run_routed(step, std::array{RoutedProduct{.experts = &down_, .activations = inner_rows, .y = parts}}, routes);

  auto* out = step.arena.take<float>(step.rows * hidden_);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    std::fill(out + begin * hidden_, out + end * hidden_, 0.0F);
    for (int64_t i = begin * options_.used; i < end * options_.used; ++i) {
      kernels::add_scaled(parts + routes.places[i] * hidden_, routes.shares[i], hidden_,
                          out + i / options_.used * hidden_);
    }
  });
  step.lap(Op::kRouting);
  if (shared_) add_shared(step, normed, out);
  border_.add(step, out, stream);
}

void Moe::add_shared(Step& step, const float* normed, float* out) const {
  const int64_t size = shared_->intermediate;
  auto* gate = step.arena.take<float>(step.rows * size);
  auto* up = step.arena.take<float>(step.rows * size);
  auto* sum = step.arena.take<float>(step.rows * hidden_);
  run_products(step,
               std::array{Product{.linear = shared_->gate.get(), .y = gate, .y_stride = size},
                          Product{.linear = shared_->up.get(), .y = up, .y_stride = size}},
               normed, step.rows);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    gating_.apply(gate + begin * size, up + begin * size, (end - begin) * size);
  });
  step.lap(Op::kActivation);
  run_products(step, std::array{Product{.linear = shared_->down.get(), .y = sum, .y_stride = hidden_}}, gate,
               step.rows);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      double logit = 0;
      for (size_t i = 0; i < shared_->router.size(); ++i) {
        logit += double{shared_->router[i]} * double{normed[row * hidden_ + static_cast<int64_t>(i)]};
      }
      const double share = shared_->router.empty() ? 1.0 : 1.0 / (1.0 + std::exp(-logit));
      kernels::add_scaled(sum + row * hidden_, static_cast<float>(share), hidden_, out + row * hidden_);
    }
  });
  step.lap(Op::kRouting);
}

int64_t Moe::arena_bytes(const StepLimits& limits) const {
  const auto floats = [](int64_t count) { return static_cast<int64_t>(Arena::padded(count * 4)); };
  const auto rows_for = [&](const ExpertLinears& experts) {
    const int64_t row_bytes = kernels::activation_layout(experts[0]->layout()).row_bytes;
    return static_cast<int64_t>(Arena::padded(row_bytes * limits.rows * options_.used));
  };
  const int64_t places = limits.rows * options_.used;
  int64_t bytes = border_.arena_bytes(limits.rows) + floats(limits.rows * options_.experts) +
                  product_bytes(std::array<const Linear*, 1>{router_.get()}, limits.rows) +
                  route_bytes(options_, limits.rows) + 2 * floats(places * intermediate_) + rows_for(gate_) +
                  rows_for(up_) + rows_for(down_) + floats(places * hidden_) + floats(limits.rows * hidden_);
  if (shared_) {
    bytes += 2 * floats(limits.rows * shared_->intermediate) + floats(limits.rows * hidden_) +
             product_bytes(std::array<const Linear*, 2>{shared_->gate.get(), shared_->up.get()}, limits.rows) +
             product_bytes(std::array<const Linear*, 1>{shared_->down.get()}, limits.rows);
  }
  return bytes;
}

Experts Moe::experts() const {
  Experts out{.count = options_.experts, .used = options_.used, .linears = {}};
  for (const ExpertLinears* kind : {&gate_, &up_, &down_}) {
    for (const auto& one : *kind) out.linears.push_back(one.get());
  }
  return out;
}

std::vector<const Linear*> Moe::linears() const {
  std::vector<const Linear*> all = experts().linears;
  all.insert(all.begin(), router_.get());
  if (shared_) all.insert(all.end(), {shared_->gate.get(), shared_->up.get(), shared_->down.get()});
  return all;
}

}  // namespace

Result<std::unique_ptr<Sublayer>> make_moe(Record& record, BuildContext& context) {
  return Moe::make(record, context);
}

}  // namespace lamina::layers

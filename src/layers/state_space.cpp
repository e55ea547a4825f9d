#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/activation.h"
#include "kernels/norm.h"
#include "layers/border.h"
#include "layers/convolution.h"
#include "layers/layer.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

/// softplus in double precision: log(1 + e^x).
double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

/// stream += out(norm(silu(z) * y)) with z, x, b, c, t = in(norm(input)), where x, b and c pass a convolution and an
/// activation, and y is each head's recurrence over the positions: state = state * e^(step * a) + step * x b^T,
/// y = state c + d x, step = softplus(t + bias). Groups of heads share b and c, and are normed by themselves. Keeps the
/// convolution's last inputs and the state of each head. Dao and Gu 2024 (Mamba-2).
class StateSpace : public Sublayer {
 public:
  static Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context);

  void forward(Step& step, const float* input, float* stream) const override;
  int64_t arena_bytes(const StepLimits& limits) const override;
  int64_t scratch_bytes(const StepLimits& limits) const override {
    return product_scratch_bytes(std::array<const Linear*, 2>{in_.get(), out_.get()}, limits.rows);
  }
  cache::VisitShape cache_shape() const override {
    return {.state_floats = convolution_.state_floats() + inner() * state_size_};
  }
  std::vector<const Linear*> linears() const override { return {in_.get(), out_.get()}; }

 private:
  /// What a step computes, row by row.
  struct Rows {
    const float* projected = nullptr;  ///< [rows, projected_size()]: z, then what is convolved, then the time steps
    float* convolved = nullptr;        ///< [rows, convolved_size()]: x, b, c
    float* steps = nullptr;            ///< [rows, heads]
    float* decays = nullptr;           ///< [rows, heads]
    float* mixed = nullptr;            ///< [rows, inner()]
  };

  core::Status read_sizes(Record& record);
  core::Status read_heads(Record& record, Weights& weights);
  core::Status read_norm(Record& record, Weights& weights);
  void convolve(Step& step, const Rows& rows) const;
  void compute_steps(Step& step, const Rows& rows) const;
  void scan(Step& step, const Rows& rows) const;
  void gate(Step& step, const Rows& rows) const;

  int64_t inner() const { return heads_ * head_size_; }
  int64_t convolved_size() const { return inner() + 2 * groups_ * state_size_; }
  int64_t projected_size() const { return inner() + convolved_size() + heads_; }

  int64_t hidden_ = 0;
  int64_t heads_ = 0;
  int64_t head_size_ = 0;
  int64_t state_size_ = 0;
  int64_t groups_ = 0;
  kernels::Activation activation_ = kernels::Activation::kSilu;
  Border border_;
  Convolution convolution_;
  std::vector<float> step_bias_;  ///< [heads], as the rest
  std::vector<float> a_;          ///< below 0: how fast a state decays
  std::vector<float> d_;
  float least_step_ = 0;
  float most_step_ = 0;
  std::vector<float> norm_;  ///< [inner]
  float epsilon_ = 0;
  std::shared_ptr<const Linear> in_;
  std::shared_ptr<const Linear> out_;
};

Result<std::unique_ptr<Sublayer>> StateSpace::make(Record& record, BuildContext& context) {
  auto layer = std::make_unique<StateSpace>();
  StateSpace& self = *layer;
  LAMINA_CHECK_OK(self.read_sizes(record));
  LAMINA_ASSIGN(const std::string activation, record.text("activation"));
  LAMINA_ASSIGN(self.activation_, find_activation(activation, record.place()));
  LAMINA_ASSIGN(self.border_, Border::make(record, context.weights, self.hidden_));
  LAMINA_ASSIGN(Record in, record.child("in"));
  LAMINA_ASSIGN(self.in_, context.weights.linear(in, self.projected_size(), self.hidden_));
  LAMINA_ASSIGN(Record convolution, record.child("conv"));
  LAMINA_ASSIGN(self.convolution_, Convolution::make(convolution, context.weights, self.convolved_size()));
  LAMINA_CHECK_OK(self.read_heads(record, context.weights));
  LAMINA_CHECK_OK(self.read_norm(record, context.weights));
  LAMINA_ASSIGN(Record out, record.child("out"));
  LAMINA_ASSIGN(self.out_, context.weights.linear(out, self.hidden_, self.inner()));
  return layer;
}

core::Status StateSpace::read_sizes(Record& record) {
  LAMINA_ASSIGN(hidden_, record.size("hidden"));
  LAMINA_ASSIGN(heads_, record.size("heads"));
  LAMINA_ASSIGN(head_size_, record.size("head_size"));
  LAMINA_ASSIGN(state_size_, record.size("state_size"));
  LAMINA_ASSIGN(groups_, record.size("groups"));
  if (heads_ % groups_ != 0) {
    return fail(ErrorCode::kCorrupt, record.place(), "{} heads in {} groups; a multiple expected", heads_, groups_);
  }
  constexpr int64_t kMost = int64_t{1} << 31;
  if (inner() > kMost || groups_ * state_size_ > kMost) {
    return fail(ErrorCode::kCorrupt, record.place(),
                "{} heads of {} and {} groups of {} numbers; at most {} of each expected", heads_, head_size_, groups_,
                state_size_, kMost);
  }
  return {};
}

core::Status StateSpace::read_heads(Record& record, Weights& weights) {
  LAMINA_ASSIGN(Record time, record.child("time_step"));
  LAMINA_ASSIGN(const std::string bias, time.text("bias"));
  LAMINA_ASSIGN(step_bias_, weights.vector(bias, heads_));
  LAMINA_ASSIGN(const std::vector<double> limits, time.numbers("limits"));
  if (!limits.empty() && (limits.size() != 2 || !(limits[0] <= limits[1]))) {
    return fail(ErrorCode::kCorrupt, time.place(), "{} limits; none, or two in order expected", limits.size());
  }
  constexpr double kMost = std::numeric_limits<float>::max();
  least_step_ = limits.empty() ? 0.0F : static_cast<float>(std::clamp(limits[0], -kMost, kMost));
  most_step_ = static_cast<float>(limits.empty() ? kMost : std::clamp(limits[1], -kMost, kMost));
  LAMINA_CHECK_OK(time.done());
  LAMINA_ASSIGN(Record a, record.child("a"));
  LAMINA_ASSIGN(const std::string name, a.text("weight"));
  LAMINA_ASSIGN(a_, weights.array(name, {heads_}));
  LAMINA_ASSIGN(const bool is_logarithm, a.flag("logarithm"));
  for (float& value : a_) value = is_logarithm ? -std::exp(value) : value;
  LAMINA_CHECK_OK(a.done());
  LAMINA_ASSIGN(const std::string d, record.text("d"));
  LAMINA_ASSIGN(d_, weights.array(d, {heads_}));
  return {};
}

core::Status StateSpace::read_norm(Record& record, Weights& weights) {
  LAMINA_ASSIGN(Record norm, record.child("inner_norm"));
  LAMINA_ASSIGN(const double epsilon, norm.number("epsilon"));
  epsilon_ = static_cast<float>(epsilon);
  LAMINA_ASSIGN(const std::string weight, norm.text("weight"));
  LAMINA_ASSIGN(norm_, weights.array(weight, {groups_, inner() / groups_}));
  return norm.done();
}

void StateSpace::forward(Step& step, const float* input, float* stream) const {
  const float* normed = border_.enter(step, input);
  auto* projected = step.arena.take<float>(step.rows * projected_size());
  const Rows rows{.projected = projected,
                  .convolved = step.arena.take<float>(step.rows * convolved_size()),
                  .steps = step.arena.take<float>(step.rows * heads_),
                  .decays = step.arena.take<float>(step.rows * heads_),
                  .mixed = step.arena.take<float>(step.rows * inner())};
  run_products(step, std::array{Product{.linear = in_.get(), .y = projected, .y_stride = projected_size()}}, normed,
               step.rows);
  convolve(step, rows);
  step.lap(Op::kConvolution);
  compute_steps(step, rows);
  scan(step, rows);
  step.lap(Op::kStateSpace);
  gate(step, rows);
  step.lap(Op::kActivation);
  border_.leave(step, *out_, rows.mixed, stream);
}

void StateSpace::convolve(Step& step, const Rows& rows) const {
  const int64_t stride = convolved_size();
  split_columns(step.pool, step.rows, stride, [&](int64_t begin, int64_t end) {
    for (const RowGroup& group : step.groups) {
      convolution_.apply({.rows = group.rows,
                          .x = rows.projected + group.first_row * projected_size() + inner(),
                          .x_stride = projected_size(),
                          .state = step.cache.state(step.visit, group.sequence),
                          .out = rows.convolved + group.first_row * stride,
                          .out_stride = stride},
                         begin, end);
    }
    for (int64_t row = 0; row < step.rows; ++row) {
      float* own = rows.convolved + row * stride + begin;
      kernels::activate(activation_, own, end - begin, own);
    }
  });
}

void StateSpace::compute_steps(Step& step, const Rows& rows) const {
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* times = rows.projected + row * projected_size() + inner() + convolved_size();
      for (int64_t head = 0; head < heads_; ++head) {
        const auto i = static_cast<size_t>(head);
        const auto wanted = static_cast<float>(softplus(double{times[head] + step_bias_[i]}));
        const float time = std::clamp(wanted, least_step_, most_step_);
        rows.steps[row * heads_ + head] = time;
        rows.decays[row * heads_ + head] = static_cast<float>(std::exp(double{time} * double{a_[i]}));
      }
    }
  });
}

/// Each head of each sequence goes through its rows in order, so that nothing depends on how a text was cut.
void StateSpace::scan(Step& step, const Rows& rows) const {
  const int64_t stride = convolved_size();
  step.pool.run([&](int index, int threads) {
    const auto groups = static_cast<int64_t>(step.groups.size());
    const core::Range mine = core::split_range(groups * heads_, 1, index, threads);
    for (int64_t task = mine.begin; task < mine.end; ++task) {
      const RowGroup& group = step.groups[static_cast<size_t>(task / heads_)];
      const int64_t head = task % heads_;
      const float* x = rows.convolved + group.first_row * stride;
      const float* b = x + inner() + head / (heads_ / groups_) * state_size_;
      float* states = step.cache.state(step.visit, group.sequence) + convolution_.state_floats();
      kernels::scan({.rows = group.rows,
                     .head_size = head_size_,
                     .state_size = state_size_,
                     .x = x + head * head_size_,
                     .x_stride = stride,
                     .b = b,
                     .c = b + groups_ * state_size_,
                     .bc_stride = stride,
                     .steps = rows.steps + group.first_row * heads_ + head,
                     .decays = rows.decays + group.first_row * heads_ + head,
                     .step_stride = heads_,
                     .skip = d_[static_cast<size_t>(head)],
                     .state = states + head * head_size_ * state_size_,
                     .out = rows.mixed + group.first_row * inner() + head * head_size_,
                     .out_stride = inner()});
    }
  });
}

void StateSpace::gate(Step& step, const Rows& rows) const {
  const int64_t size = inner() / groups_;
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* own = rows.mixed + row * inner();
      kernels::activate_multiply(kernels::Activation::kSilu, rows.projected + row * projected_size(), own, inner(),
                                 own);
      for (int64_t first = 0; first < inner(); first += size) {
        kernels::rms_norm(own + first, norm_.data() + first, own + first, size, epsilon_, 0.0F);
      }
    }
  });
}

int64_t StateSpace::arena_bytes(const StepLimits& limits) const {
  const auto floats = [&](int64_t columns) { return static_cast<int64_t>(Arena::padded(limits.rows * columns * 4)); };
  return border_.arena_bytes(limits.rows) + floats(projected_size()) + floats(convolved_size()) + 2 * floats(heads_) +
         floats(inner()) + product_bytes(std::array<const Linear*, 1>{in_.get()}, limits.rows) +
         product_bytes(std::array<const Linear*, 1>{out_.get()}, limits.rows);
}

}  // namespace

Result<std::unique_ptr<Sublayer>> make_state_space(Record& record, BuildContext& context) {
  return StateSpace::make(record, context);
}

}  // namespace lamina::layers

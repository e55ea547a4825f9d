#include "layers/frame_convolutions.h"

#include <algorithm>
#include <array>

#include "layers/border.h"
#include "layers/rows.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

int64_t float_bytes(int64_t count) {
  return static_cast<int64_t>(Arena::padded(count * 4));
}

}  // namespace

Result<FrameConvolutions> FrameConvolutions::make(Record record, Weights& weights, int64_t hidden) {
  FrameConvolutions convolutions;
  LAMINA_ASSIGN(convolutions.features_, record.size("features"));
  LAMINA_ASSIGN(const std::vector<std::string> order, record.texts("order"));
  int64_t inputs = convolutions.features_;
  for (const std::string& name : order) {
    LAMINA_ASSIGN(Record child, record.child(name));
    LAMINA_ASSIGN(Stage stage, make_stage(std::move(child), weights, inputs));
    inputs = stage.outputs;
    convolutions.stages_.push_back(std::move(stage));
  }
  LAMINA_CHECK_OK(record.done());
  if (order.empty() || inputs != hidden) {
    return fail(ErrorCode::kInvalid, record.place(), "{} convolutions end in {} numbers; the stream's {} expected",
                order.size(), inputs, hidden);
  }
  return convolutions;
}

Result<FrameConvolutions::Stage> FrameConvolutions::make_stage(Record record, Weights& weights, int64_t inputs) {
  Stage stage;
  stage.inputs = inputs;
  LAMINA_ASSIGN(stage.outputs, record.size("outputs"));
  LAMINA_ASSIGN(stage.width, record.size("width"));
  LAMINA_ASSIGN(stage.stride, record.size("stride"));
  LAMINA_ASSIGN(const std::string activation, record.text("activation"));
  LAMINA_ASSIGN(stage.activation, find_activation(activation, record.place()));
  LAMINA_ASSIGN(const std::string weight, record.text("weight"));
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("bias"));
  LAMINA_CHECK_OK(record.done());
  if (stage.width % 2 == 0 || stage.stride > stage.width) {
    return fail(ErrorCode::kUnsupported, record.place(),
                "width {}, stride {}; an odd width and no wider stride expected", stage.width, stage.stride);
  }
  LAMINA_ASSIGN(stage.linear, weights.convolution(weight, {stage.outputs, stage.inputs, stage.width}, bias));
  return stage;
}

int64_t FrameConvolutions::rows(int64_t frames) const {
  for (const Stage& stage : stages_) frames = stage.rows(frames);
  return frames;
}

std::vector<int64_t> FrameConvolutions::most_rows(int64_t rows) const {
  std::vector<int64_t> most{rows};
  for (size_t i = stages_.size(); i-- > 0;) most.insert(most.begin(), most.front() * stages_[i].stride);
  return most;
}

/// out [rows, outputs] of in, whose values are [count, inputs]: each row is a product with its window, laid out as the
/// weight is, so that the order of additions is that of any other matrix.
void FrameConvolutions::run_stage(Step& step, const Stage& stage, const Frames& in, float* out) const {
  const int64_t rows = stage.rows(in.count);
  const int64_t columns = stage.inputs * stage.width;
  auto* windows = step.arena.take<float>(rows * columns);
  split_rows(step.pool, rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* window = windows + row * columns;
      for (int64_t tap = 0; tap < stage.width; ++tap) {
        const int64_t time = row * stage.stride + tap - stage.width / 2;
        const bool inside = time >= 0 && time < in.count;
        for (int64_t i = 0; i < stage.inputs; ++i)
          window[i * stage.width + tap] = inside ? in.values[time * stage.inputs + i] : 0.0F;
      }
    }
  });
  step.lap(Op::kConvolution);
  run_products(step, std::array{Product{.linear = stage.linear.get(), .y = out, .y_stride = stage.outputs}}, windows,
               rows);
  split_rows(step.pool, rows, [&](int64_t begin, int64_t end) {
    float* mine = out + begin * stage.outputs;
    kernels::activate(stage.activation, mine, (end - begin) * stage.outputs, mine);
  });
  step.lap(Op::kActivation);
}

void FrameConvolutions::forward(Step& step, const Frames& frames, float* out) const {
  auto* turned = step.arena.take<float>(frames.count * features_);
  split_rows(step.pool, frames.count, [&](int64_t begin, int64_t end) {
    for (int64_t time = begin; time < end; ++time) {
      for (int64_t i = 0; i < features_; ++i) turned[time * features_ + i] = frames.values[i * frames.count + time];
    }
  });
  Frames in{.values = turned, .count = frames.count};
  for (const Stage& stage : stages_) {
    const int64_t rows = stage.rows(in.count);
    float* result = &stage == &stages_.back() ? out : step.arena.take<float>(rows * stage.outputs);
    run_stage(step, stage, in, result);
    in = {.values = result, .count = rows};
  }
}

int64_t FrameConvolutions::arena_bytes(int64_t rows) const {
  const std::vector<int64_t> most = most_rows(rows);
  int64_t bytes = float_bytes(most[0] * features_);
  for (size_t i = 0; i < stages_.size(); ++i) {
    const Stage& stage = stages_[i];
    bytes += float_bytes(most[i + 1] * stage.inputs * stage.width) + float_bytes(most[i + 1] * stage.outputs) +
             product_bytes(std::array{stage.linear.get()}, most[i + 1]);
  }
  return bytes;
}

int64_t FrameConvolutions::scratch_bytes(int64_t rows) const {
  const std::vector<int64_t> most = most_rows(rows);
  int64_t bytes = 0;
  for (size_t i = 0; i < stages_.size(); ++i)
    bytes = std::max(bytes, product_scratch_bytes(std::array{stages_[i].linear.get()}, most[i + 1]));
  return bytes;
}

}  // namespace lamina::layers

#include "embed/embedder.h"

namespace lamina::embed {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

/// Pools the stream after the last visit; one vector for each sequence of the step.
class PoolingHook : public run::BorderHook {
 public:
  PoolingHook(run::Runner& runner, const EmbedOptions& options)
      : runner_(runner), options_(options), last_(static_cast<int>(runner.options().plan.route.size()) - 1) {
    runner_.set_hook(this);
  }
  PoolingHook(const PoolingHook&) = delete;
  PoolingHook& operator=(const PoolingHook&) = delete;
  ~PoolingHook() override { runner_.set_hook(nullptr); }

  void at_border(const run::Border& border, float* stream) override {
    if (border.visit != last_) return;
    runner_.model().head().finish(stream, border.rows);
    vectors_.assign(border.groups.size(), std::vector<float>(static_cast<size_t>(border.hidden)));
    for (size_t i = 0; i < border.groups.size(); ++i) {
      const layers::RowGroup& group = border.groups[i];
      pool(options_.pooling, stream + group.first_row * border.hidden, group.rows, border.hidden, options_.skipped,
           vectors_[i].data());
    }
  }
  std::vector<std::vector<float>>& vectors() { return vectors_; }

 private:
  run::Runner& runner_;
  const EmbedOptions& options_;
  int last_;
  std::vector<std::vector<float>> vectors_;
};

std::vector<float> run_dense(const Dense& dense, std::span<const float> x) {
  std::vector<float> out(static_cast<size_t>(dense.outputs));
  for (size_t row = 0; row < out.size(); ++row) {
    double sum = dense.bias.empty() ? 0 : static_cast<double>(dense.bias[row]);
    for (size_t i = 0; i < x.size(); ++i)
      sum += static_cast<double>(dense.weight[row * x.size() + i]) * static_cast<double>(x[i]);
    out[row] = static_cast<float>(sum);
  }
  kernels::activate(dense.activation, out.data(), dense.outputs, out.data());
  return out;
}

}  // namespace

int64_t embedding_size(const models::Model& model, const Settings& settings) {
  return settings.dense.empty() ? model.hidden() : settings.dense.back().outputs;
}

Result<std::vector<std::vector<float>>> embed(run::Runner& runner, const Settings& settings,
                                              const EmbedOptions& options, std::span<const Input> inputs) {
  int64_t size = runner.model().hidden();
  for (const Dense& dense : settings.dense) {
    if (dense.inputs != size)
      return fail(ErrorCode::kCorrupt, "embed", "a dense layer reads {} features of {}", dense.inputs, size);
    size = dense.outputs;
  }
  if (options.dimensions < 0 || options.dimensions > size) {
    return fail(ErrorCode::kInvalid, "dimensions", "{}; the vectors have {}", options.dimensions, size);
  }
  PoolingHook hook(runner, options);
  std::vector<std::vector<float>> vectors(inputs.size());
  LAMINA_CHECK_OK(
      run_inputs(runner, inputs, false, [&](std::span<const size_t> order, std::span<const float> /*logits*/) {
        for (size_t i = 0; i < order.size(); ++i) {
          std::vector<float> vector = std::move(hook.vectors()[i]);
          for (const Dense& dense : settings.dense) vector = run_dense(dense, vector);
          if (options.dimensions > 0) vector.resize(static_cast<size_t>(options.dimensions));
          if (options.normalize) normalize(vector);
          vectors[order[i]] = std::move(vector);
        }
      }));
  return vectors;
}

}  // namespace lamina::embed

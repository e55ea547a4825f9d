#include "layers/head.h"

#include <array>

#include "layers/border.h"
#include "layers/rows.h"

namespace lamina::layers {

using core::Result;

Result<Head> Head::make(Record record, const Embedding& embedding, Weights& weights) {
  Head head;
  head.hidden_ = embedding.hidden();
  LAMINA_ASSIGN(std::optional<Record> norm, record.optional_child("norm"));
  if (norm) {
    LAMINA_ASSIGN(head.norm_, Norm::make(*norm, weights, head.hidden_));
  }
  LAMINA_ASSIGN(const int64_t inputs, head.read_dense(record, weights));
  if (record.has("weight")) LAMINA_CHECK_OK(head.read_product(record, embedding, weights, inputs));
  LAMINA_CHECK_OK(record.done());
  return head;
}

/// Reads the product between the stream and the last one; returns how wide rows are after it.
Result<int64_t> Head::read_dense(Record& record, Weights& weights) {
  LAMINA_ASSIGN(std::optional<Record> dense, record.optional_child("dense"));
  if (!dense) return hidden_;
  LAMINA_ASSIGN(const int64_t own_width, dense->size_or_zero("width"));
  const int64_t width = own_width == 0 ? hidden_ : own_width;
  LAMINA_ASSIGN(const std::string activation, dense->text("activation"));
  LAMINA_ASSIGN(activation_, find_activation(activation, dense->place()));
  LAMINA_ASSIGN(const std::string weight, dense->text("weight"));
  LAMINA_ASSIGN(const std::optional<std::string> bias, dense->optional_text("bias"));
  LAMINA_ASSIGN(dense_, weights.matrix(weight, width, hidden_, bias));
  LAMINA_ASSIGN(std::optional<Record> norm, dense->optional_child("norm"));
  if (norm) {
    LAMINA_ASSIGN(dense_norm_, Norm::make(*norm, weights, width));
  }
  LAMINA_CHECK_OK(dense->done());
  return width;
}

core::Status Head::read_product(Record& record, const Embedding& embedding, Weights& weights, int64_t inputs) {
  LAMINA_ASSIGN(const std::string name, record.text("weight"));
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("bias"));
  LAMINA_ASSIGN(labels_, record.flag_or("labels", false));
  LAMINA_ASSIGN(const std::optional<std::string> pooling, record.optional_text("pooling"));
  if (pooling && *pooling != "cls" && *pooling != "mean") {
    return core::fail(core::ErrorCode::kUnsupported, record.place(), "pooling \"{}\" is unknown; cls or mean expected",
                      *pooling);
  }
  pools_rows_ = labels_ && pooling == "mean";
  LAMINA_ASSIGN(const std::optional<std::string> tied, record.optional_text("tied"));
  LAMINA_ASSIGN(const double scale, record.number_or("scale", 1));
  LAMINA_ASSIGN(const double soft_cap, record.number_or("soft_cap", 0));
  scale_ = static_cast<float>(scale);
  soft_cap_ = static_cast<float>(soft_cap);
  tied_ = tied && (*tied == "always" || (*tied == "when absent" && !weights.has(name)));
  int64_t outputs = embedding.vocabulary();
  if (labels_) {
    LAMINA_ASSIGN(const core::TensorView table, weights.table(name, inputs));
    outputs = table.shape[0];
  }
  // One tensor has one format.
  if (tied_) weights.enter(-1, "embedding");
  LAMINA_ASSIGN(linear_, weights.matrix(tied_ ? embedding.name() : name, outputs, inputs, bias));
  return {};
}

void Head::finish(float* x, int64_t rows) const {
  if (norm_) norm_->apply(x, x, rows);
}

void Head::mean_row(const float* x, int64_t rows, float* mean) const {
  for (int64_t i = 0; i < hidden_; ++i) {
    double sum = 0;
    for (int64_t row = 0; row < rows; ++row) sum += static_cast<double>(x[row * hidden_ + i]);
    mean[i] = static_cast<float>(sum / static_cast<double>(rows));
  }
}

void Head::forward(Step& step, float* x, int64_t rows, float* logits) const {
  if (!pools_rows_)
    split_rows(step.pool, rows, [&](int64_t begin, int64_t end) { finish(x + begin * hidden_, end - begin); });
  step.lap(Op::kNorm);
  if (dense_) {
    const int64_t width = dense_->outputs();
    auto* dense = step.arena.take<float>(rows * width);
    run_products(step, std::array{Product{.linear = dense_.get(), .y = dense, .y_stride = width}}, x, rows);
    split_rows(step.pool, rows, [&](int64_t begin, int64_t end) {
      float* mine = dense + begin * width;
      kernels::activate(activation_, mine, (end - begin) * width, mine);
      if (dense_norm_) dense_norm_->apply(mine, mine, end - begin);
    });
    step.lap(Op::kActivation);
    x = dense;
  }
  run_products(step, std::array{Product{.linear = linear_.get(), .y = logits, .y_stride = outputs()}}, x, rows);
  if (scale_ == 1 && soft_cap_ == 0) return;
  step.pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(rows * outputs(), 64, index, threads);
    float* begin = logits + range.begin;
    if (scale_ != 1) kernels::scale(begin, scale_, range.end - range.begin, begin);
    if (soft_cap_ != 0) kernels::soft_cap(begin, soft_cap_, range.end - range.begin, begin);
  });
  step.lap(Op::kActivation);
}

int64_t Head::arena_bytes(int64_t rows) const {
  int64_t bytes = linear_ ? product_bytes(std::array{linear_.get()}, rows) : 0;
  if (dense_)
    bytes += static_cast<int64_t>(Arena::padded(rows * dense_->outputs() * 4)) +
             product_bytes(std::array{dense_.get()}, rows);
  return bytes;
}

int64_t Head::scratch_bytes(int64_t rows) const {
  return product_scratch_bytes(linears(), rows);
}

std::vector<const Linear*> Head::linears() const {
  std::vector<const Linear*> linears;
  if (dense_) linears.push_back(dense_.get());
  if (linear_) linears.push_back(linear_.get());
  return linears;
}

}  // namespace lamina::layers

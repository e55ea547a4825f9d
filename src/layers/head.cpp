#include "layers/head.h"

#include <array>

#include "kernels/activation.h"
#include "layers/rows.h"

namespace lamina::layers {

core::Result<Head> Head::make(Record record, const Embedding& embedding, Weights& weights) {
  Head head;
  LAMINA_ASSIGN(Record norm, record.child("norm"));
  LAMINA_ASSIGN(head.norm_, Norm::make(norm, weights, embedding.hidden()));
  LAMINA_ASSIGN(const std::string name, record.text("weight"));
  LAMINA_ASSIGN(const std::string tied, record.text("tied"));
  LAMINA_ASSIGN(const double scale, record.number_or("scale", 1));
  LAMINA_ASSIGN(const double soft_cap, record.number_or("soft_cap", 0));
  LAMINA_CHECK_OK(record.done());
  head.scale_ = static_cast<float>(scale);
  head.soft_cap_ = static_cast<float>(soft_cap);
  head.tied_ = tied == "always" || (tied == "when absent" && !weights.has(name));
  LAMINA_ASSIGN(head.linear_,
                weights.matrix(head.tied_ ? embedding.name() : name, embedding.vocabulary(), embedding.hidden()));
  return head;
}

void Head::forward(Step& step, float* x, int64_t rows, float* logits) const {
  const int64_t hidden = norm_.size();
  const int64_t vocabulary = linear_->outputs();
  split_rows(step.pool, rows,
             [&](int64_t begin, int64_t end) { norm_.apply(x + begin * hidden, x + begin * hidden, end - begin); });
  run_products(step, std::array{Product{.linear = linear_.get(), .y = logits, .y_stride = vocabulary}}, x, rows);
  if (scale_ == 1 && soft_cap_ == 0) return;
  step.pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(rows * vocabulary, 64, index, threads);
    float* begin = logits + range.begin;
    if (scale_ != 1) kernels::scale(begin, scale_, range.end - range.begin, begin);
    if (soft_cap_ != 0) kernels::soft_cap(begin, soft_cap_, range.end - range.begin, begin);
  });
}

}  // namespace lamina::layers

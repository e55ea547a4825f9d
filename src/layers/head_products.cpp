#include "layers/head_products.h"

#include <algorithm>
#include <array>

#include "kernels/quantize.h"
#include "layers/rows.h"

namespace lamina::layers {

int64_t head_product_bytes(const HeadLinears& heads, int64_t rows) {
  const int64_t row_bytes = kernels::activation_layout(heads.front()->layout()).row_bytes;
  return static_cast<int64_t>(Arena::padded(row_bytes * rows * static_cast<int64_t>(heads.size())));
}

void run_head_products(Step& step, const HeadLinears& heads, const HeadRows<const float>& x, const HeadRows<float>& y) {
  const kernels::ActivationLayout layout = kernels::activation_layout(heads.front()->layout());
  const auto count = static_cast<int64_t>(heads.size());
  const int64_t rows = step.rows;
  auto* activations = step.arena.take<std::byte>(layout.row_bytes * rows * count);
  split_rows(step.pool, rows, [&](int64_t begin, int64_t end) {
    for (int64_t head = 0; head < count; ++head) {
      kernels::quantize_rows(layout, x.data + begin * x.row_stride + head * x.head_stride, x.row_stride, end - begin,
                             activations + (head * rows + begin) * layout.row_bytes);
    }
  });
  step.lap(Op::kQuantize);
  const int64_t panels = heads.front()->layout().panels;
  step.pool.run([&](int index, int threads) {
    const core::Range mine = core::split_range(count * panels, 1, index, threads);
    for (int64_t at = mine.begin; at < mine.end;) {
      const int64_t head = at / panels;
      const int64_t end = std::min(mine.end, (head + 1) * panels);
      const Linear& linear = *heads[static_cast<size_t>(head)];
      kernels::linear({.layout = &linear.layout(),
                       .packed = linear.packed(),
                       .panel_begin = at - head * panels,
                       .panel_end = end - head * panels,
                       .activations = activations + head * rows * layout.row_bytes,
                       .rows = rows,
                       .y = y.data + head * y.head_stride,
                       .y_stride = y.row_stride,
                       .bias = nullptr,
                       .accumulate = false,
                       .scratch = step.thread_scratch[static_cast<size_t>(index)]});
      at = end;
    }
  });
  if (step.profile == nullptr) return;
  OpCost cost;
  for (const auto& linear : heads) cost += product_cost(*linear, rows);
  step.profile->lap(Op::kProduct, cost, std::array{heads.front().get()});
}

}  // namespace lamina::layers

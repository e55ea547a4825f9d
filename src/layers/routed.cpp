#include "layers/routed.h"

#include <algorithm>

#include "kernels/softmax.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

/// Reading a panel costs about as much as computing this many rows with it.
constexpr int64_t kPanelRows = 8;

/// The largest probabilities of one row, best first. Takes them out of `probabilities`.
void choose(const RouterOptions& options, float* probabilities, int32_t* experts, float* shares) {
  float sum = 0;
  for (int64_t i = 0; i < options.used; ++i) {
    const int64_t best = kernels::argmax(probabilities, options.experts);
    experts[i] = static_cast<int32_t>(best);
    shares[i] = probabilities[best];
    sum += shares[i];
    probabilities[best] = -1;
  }
  for (int64_t i = 0; options.normalize && i < options.used; ++i) shares[i] /= sum;
}

}  // namespace

Routes route(Step& step, const RouterOptions& options, float* logits) {
  const int64_t used = options.used;
  const int64_t count = step.rows * used;
  auto* experts = step.arena.take<int32_t>(count);
  auto* shares = step.arena.take<float>(count);
  auto* places = step.arena.take<int32_t>(count);
  auto* sources = step.arena.take<int32_t>(count);
  auto* first = step.arena.take<int32_t>(options.experts + 1);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* own = logits + row * options.experts;
      kernels::softmax(own, options.experts, own);
      choose(options, own, experts + row * used, shares + row * used);
    }
  });
  std::fill_n(first, options.experts + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++first[experts[i] + 1];
  for (int64_t e = 0; e < options.experts; ++e) first[e + 1] += first[e];
  // Filling moves each expert's first place to the next expert's; walking backwards restores it.
  for (int64_t i = count - 1; i >= 0; --i) {
    const int32_t place = --first[experts[i] + 1];
    places[i] = place;
    sources[place] = static_cast<int32_t>(i / used);
  }
  std::copy(first + 1, first + options.experts + 1, first);
  first[options.experts] = static_cast<int32_t>(count);
  return {.used = used, .places = places, .shares = shares, .sources = sources, .first = first};
}

int64_t route_bytes(const RouterOptions& options, int64_t rows) {
  return 4 * static_cast<int64_t>(Arena::padded(rows * options.used * 4)) +
         static_cast<int64_t>(Arena::padded((options.experts + 1) * 4));
}

void run_routed(Step& step, std::span<const RoutedProduct> products, const Routes& routes) {
  const auto rows_of = [&](size_t expert) { return int64_t{routes.first[expert + 1]} - routes.first[expert]; };
  const auto panel_cost = [&](size_t expert) { return rows_of(expert) + kPanelRows; };
  int64_t total = 0;
  for (const RoutedProduct& product : products) {
    for (size_t e = 0; e < product.experts->size(); ++e) {
      if (rows_of(e) > 0) total += panel_cost(e) * (*product.experts)[e]->layout().panels;
    }
  }
  step.pool.run([&](int index, int threads) {
    const core::Range mine = core::split_range(total, 1, index, threads);
    int64_t start = 0;  // cost of what comes before the expert's first panel
    for (const RoutedProduct& product : products) {
      for (size_t e = 0; e < product.experts->size(); ++e) {
        if (rows_of(e) == 0) continue;
        const Linear& linear = *(*product.experts)[e];
        const int64_t cost = panel_cost(e);
        const auto panel_at = [&](int64_t at) {
          return std::clamp<int64_t>((at - start + cost - 1) / cost, 0, linear.layout().panels);
        };
        const int64_t begin = mine.begin <= start ? 0 : panel_at(mine.begin);
        const int64_t end = mine.end <= start ? 0 : panel_at(mine.end);
        start += cost * linear.layout().panels;
        if (begin >= end) continue;
        const int64_t row_bytes = kernels::activation_layout(linear.layout()).row_bytes;
        kernels::linear({.layout = &linear.layout(),
                         .packed = linear.packed(),
                         .panel_begin = begin,
                         .panel_end = end,
                         .activations = product.activations + routes.first[e] * row_bytes,
                         .rows = rows_of(e),
                         .y = product.y + routes.first[e] * linear.outputs(),
                         .y_stride = linear.outputs(),
                         .bias = linear.bias(),
                         .accumulate = false,
                         .scratch = step.thread_scratch[static_cast<size_t>(index)]});
      }
    }
  });
}

}  // namespace lamina::layers

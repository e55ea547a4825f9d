#pragma once

#include <memory>
#include <span>
#include <vector>

#include "layers/linear.h"
#include "layers/step.h"

namespace lamina::layers {

/// One matrix for each head, all of one shape and number format.
using HeadLinears = std::vector<std::shared_ptr<const Linear>>;

/// Where the part of head h lies in row r: data + r * row_stride + h * head_stride.
template <typename T>
struct HeadRows {
  T* data = nullptr;
  int64_t row_stride = 0;
  int64_t head_stride = 0;
};

/// Bytes of the arena that run_head_products takes for at most `rows` rows.
int64_t head_product_bytes(const HeadLinears& heads, int64_t rows);

/// y = x W^T for every head with its own matrix, over step.rows rows. Threads share the panels of all heads as one
/// list; a row's bits depend on that row alone.
void run_head_products(Step& step, const HeadLinears& heads, const HeadRows<const float>& x, const HeadRows<float>& y);

}  // namespace lamina::layers

#include "layers/linear.h"

#include <algorithm>
#include <array>

#include "codec/codec.h"
#include "kernels/quantize.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

constexpr size_t kMaxProducts = 8;
constexpr int64_t kPieceBytes = int64_t{4} << 20;  // packed before the file's pages are given back
/// The input of a group of products in every form that its matrices read; one entry per distinct form.
struct Inputs {
  std::array<kernels::ActivationLayout, kMaxProducts> layouts{};
  std::array<std::byte*, kMaxProducts> data{};
  size_t count = 0;

  size_t find_or_add(const kernels::ActivationLayout& layout) {
    const auto end = layouts.begin() + static_cast<std::ptrdiff_t>(count);
    const auto found = std::find(layouts.begin(), end, layout);
    if (found == end) layouts[count++] = layout;
    return static_cast<size_t>(found - layouts.begin());
  }
};

}  // namespace

core::Result<Linear> Linear::plan(std::string name, const core::TensorView& source, bool exact) {
  Linear linear;
  const codec::Codec* codec = codec::codec_of(*source.format);
  LAMINA_ASSIGN(linear.layout_, kernels::weight_layout(*codec, source.rows(), source.columns(), exact));
  linear.name_ = std::move(name);
  linear.source_ = source;
  return linear;
}

core::Status Linear::pack(core::ThreadPool& pool, const std::function<void(const core::TensorView& piece)>& release) {
  LAMINA_ASSIGN(packed_, core::AlignedBuffer::allocate(static_cast<size_t>(bytes())));
  const int64_t piece = std::max<int64_t>(1, kPieceBytes / layout_.panel_bytes);
  for (int64_t first = 0; first < layout_.panels; first += piece) {
    const int64_t panels = std::min(piece, layout_.panels - first);
    pool.run([&](int index, int threads) {
      const core::Range range = core::split_range(panels, 1, index, threads);
      kernels::pack_panels(layout_, source_.data, first + range.begin, first + range.end, packed_.data());
    });
    core::TensorView read = source_;
    read.rank = 2;
    read.data = source_.row(first * kernels::kPanel);
    read.shape = {std::min(panels * kernels::kPanel, layout_.outputs - first * kernels::kPanel), layout_.inputs, 1, 1};
    release(read);
  }
  return {};
}

int64_t product_bytes(std::span<const Linear* const> linears, int64_t rows) {
  Inputs inputs;
  for (const Linear* linear : linears) inputs.find_or_add(kernels::activation_layout(linear->layout()));
  int64_t bytes = 0;
  for (size_t i = 0; i < inputs.count; ++i)
    bytes += static_cast<int64_t>(Arena::padded(inputs.layouts[i].row_bytes * rows));
  return bytes;
}

int64_t product_scratch_bytes(std::span<const Linear* const> linears, int64_t rows) {
  int64_t bytes = 0;
  for (const Linear* linear : linears) bytes = std::max(bytes, kernels::linear_scratch_bytes(linear->layout(), rows));
  return bytes;
}

void run_products(Step& step, std::span<const Product> products, const float* x, int64_t rows) {
  assert(products.size() <= kMaxProducts);
  Inputs inputs;
  std::array<size_t, kMaxProducts> form{};
  int64_t panels = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    form[i] = inputs.find_or_add(kernels::activation_layout(products[i].linear->layout()));
    panels += products[i].linear->layout().panels;
  }
  const int64_t columns = products.front().linear->inputs();
  for (size_t i = 0; i < inputs.count; ++i)
    inputs.data[i] = step.arena.take<std::byte>(inputs.layouts[i].row_bytes * rows);
  split_rows(step.pool, rows, [&](int64_t begin, int64_t end) {
    for (size_t i = 0; i < inputs.count; ++i) {
      kernels::quantize_rows(inputs.layouts[i], x + begin * columns, columns, end - begin,
                             inputs.data[i] + begin * inputs.layouts[i].row_bytes);
    }
  });
  step.pool.run([&](int index, int threads) {
    const core::Range mine = core::split_range(panels, 1, index, threads);
    int64_t first = 0;
    for (size_t i = 0; i < products.size(); ++i) {
      const Linear& linear = *products[i].linear;
      const int64_t begin = std::max(mine.begin - first, int64_t{0});
      const int64_t end = std::min(mine.end - first, linear.layout().panels);
      first += linear.layout().panels;
      if (begin >= end) continue;
      kernels::linear({.layout = &linear.layout(),
                       .packed = linear.packed(),
                       .panel_begin = begin,
                       .panel_end = end,
                       .activations = inputs.data[form[i]],
                       .rows = rows,
                       .y = products[i].y,
                       .y_stride = products[i].y_stride,
                       .bias = linear.bias(),
                       .accumulate = products[i].accumulate,
                       .scratch = step.thread_scratch[static_cast<size_t>(index)]});
    }
  });
}

}  // namespace lamina::layers

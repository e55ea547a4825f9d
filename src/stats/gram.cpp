#include "stats/gram.h"

#include <algorithm>

#include "codec/codec.h"
#include "kernels/linear.h"

namespace lamina::stats {

using core::Status;

namespace {

constexpr int64_t kGroupPanels = 4;
constexpr int64_t kGroup = kGroupPanels * kernels::kPanel;  ///< columns that are computed together

Status reserve(core::AlignedBuffer& buffer, int64_t bytes) {
  if (static_cast<int64_t>(buffer.size()) >= bytes) return {};
  LAMINA_ASSIGN(buffer, core::AlignedBuffer::allocate(static_cast<size_t>(bytes)));
  return {};
}

/// Rows [begin, end) of the turned matrix: input by input, all rows.
void turn(const layers::InputRows& rows, int64_t begin, int64_t end, float* out) {
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* x = rows.data + r * rows.stride;
    for (int64_t i = begin; i < end; ++i) out[i * rows.count + r] = x[i];
  }
}

/// Adds the products of inputs from `first` on with the `width` inputs from `first` on to the lower triangle.
void add_products(const float* products, int64_t first, int64_t width, int64_t inputs, double* sums) {
  for (int64_t i = first; i < inputs; ++i) {
    const float* from = products + (i - first) * kGroup;
    double* to = sums + triangle_row(i) + first;
    const int64_t count = std::min(width, i - first + 1);
    for (int64_t j = 0; j < count; ++j) to[j] += double{from[j]};
  }
}

}  // namespace

std::span<const double> Gram::sums() const {
  if (file_ == nullptr) return own_;
  return {reinterpret_cast<const double*>(view_.data), static_cast<size_t>(triangle_size(inputs_))};
}

std::span<double> Gram::change() {
  if (file_ != nullptr) {
    const std::span<const double> kept = sums();
    own_.assign(kept.begin(), kept.end());
    file_.reset();
  }
  return own_;
}

void Gram::release() const {
  if (file_ != nullptr) file_->release(view_);
}

Status GramAdder::add(const layers::InputRows& rows, Gram& gram) {
  const int64_t inputs = gram.inputs();
  // The kernels for float weights sum over a weight's inputs in ascending order: here, over the rows.
  LAMINA_ASSIGN(const kernels::WeightLayout layout,
                kernels::weight_layout(*codec::find_codec("f32"), inputs, rows.count, true));
  const auto threads = static_cast<int64_t>(pool_.threads());
  const int64_t scratch_bytes = (kernels::linear_scratch_bytes(layout, inputs) + 63) / 64 * 64;
  LAMINA_CHECK_OK(reserve(packed_, layout.bytes()));
  LAMINA_CHECK_OK(reserve(scratch_, scratch_bytes * threads));
  turned_.resize(std::max(turned_.size(), static_cast<size_t>(inputs * rows.count)));
  products_.resize(std::max(products_.size(), static_cast<size_t>(threads * inputs * kGroup)));
  pool_.run([&](int index, int count) {
    const core::Range range = core::split_range(inputs, kernels::kPanel, index, count);
    turn(rows, range.begin, range.end, turned_.data());
  });
  pool_.run([&](int index, int count) {
    const core::Range range = core::split_range(layout.panels, 1, index, count);
    kernels::pack_panels(layout, reinterpret_cast<const std::byte*>(turned_.data()), range.begin, range.end,
                         packed_.data());
  });
  double* sums = gram.change().data();
  const int64_t groups = (layout.panels + kGroupPanels - 1) / kGroupPanels;
  pool_.run([&](int index, int count) {
    float* products = products_.data() + index * inputs * kGroup;
    // Later groups are shorter: threads take them by turns.
    for (int64_t group = index; group < groups; group += count) {
      const int64_t first = group * kGroup;
      kernels::WeightLayout part = layout;
      part.outputs = std::min(kGroup, inputs - first);
      part.panels = std::min(kGroupPanels, layout.panels - group * kGroupPanels);
      kernels::linear({.layout = &part,
                       .packed = packed_.data() + group * kGroupPanels * layout.panel_bytes,
                       .panel_begin = 0,
                       .panel_end = part.panels,
                       .activations = reinterpret_cast<const std::byte*>(turned_.data() + first * rows.count),
                       .rows = inputs - first,
                       .y = products,
                       .y_stride = kGroup,
                       .scratch = scratch_.data() + index * scratch_bytes});
      add_products(products, first, part.outputs, inputs, sums);
    }
  });
  gram.add_rows(rows.count);
  return {};
}

}  // namespace lamina::stats

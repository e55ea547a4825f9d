#pragma once

#include "kernels/rope.h"
#include "layers/layer.h"

namespace lamina::layers {

/// The rotary embedding of an attention sublayer: which of the model's tables, which pairs turn.
class Rotation {
 public:
  /// Reads {ordering, dims, kind, base, ...}; equal embeddings of several layers share one table.
  static core::Result<Rotation> make(Record record, BuildContext& context, int64_t head_size);

  /// Turns `heads` heads of rows [begin, end) of the batch; x is the first of these rows.
  void apply(const Step& step, int64_t begin, int64_t end, float* x, int64_t heads, int64_t head_size) const;

 private:
  size_t table_ = 0;
  kernels::RopeOrder order_ = kernels::RopeOrder::kHalves;
};

}  // namespace lamina::layers

#include "layers/gating.h"

#include "layers/border.h"

namespace lamina::layers {

core::Result<Gating> Gating::make(Record& record) {
  Gating gating;
  LAMINA_ASSIGN(const std::string activation, record.text("activation"));
  LAMINA_ASSIGN(gating.activation_, find_activation(activation, record.place()));
  LAMINA_ASSIGN(const double limit, record.number_or("limit", 0));
  LAMINA_ASSIGN(const double offset, record.number_or("up_offset", 0));
  if (limit < 0) {
    return core::fail(core::ErrorCode::kCorrupt, record.place(), "limit is {}; 0 for none or a positive one expected",
                      limit);
  }
  if (limit > 0) gating.bounds_.limit = static_cast<float>(limit);
  gating.bounds_.up_offset = static_cast<float>(offset);
  gating.bounded_ = limit > 0 || offset != 0;
  return gating;
}

void Gating::apply(float* gate, const float* up, int64_t size) const {
  if (bounded_) {
    kernels::activate_multiply_bounded(activation_, bounds_, gate, up, size, gate);
  } else {
    kernels::activate_multiply(activation_, gate, up, size, gate);
  }
}

}  // namespace lamina::layers

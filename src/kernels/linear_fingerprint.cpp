#include "kernels/linear_fingerprint.h"

#include <vector>

#include "core/checksum.h"

namespace lamina::kernels {

uint64_t layout_fingerprint(const WeightLayout& layout) {
  constexpr int64_t kRows = kPanel + 1;  // a full panel and one that is not
  WeightLayout small = layout;
  small.outputs = layout.outputs < kRows ? layout.outputs : kRows;
  small.panels = (small.outputs + kPanel - 1) / kPanel;
  std::vector<std::byte> rows(static_cast<size_t>(small.outputs * layout.codec->format.row_bytes(layout.inputs)));
  uint32_t state = 1;
  for (std::byte& byte : rows) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  std::vector<std::byte> packed(static_cast<size_t>(small.bytes()));
  pack_panels(small, rows.data(), 0, small.panels, packed.data());
  return core::checksum(packed);
}

}  // namespace lamina::kernels

#pragma once

#include <cstdint>

#include "cache/kv_cache.h"
#include "layers/step.h"

namespace lamina::layers {

/// Tells the profile that attention has ended: the keys and values that were read, each once per sequence, and two
/// products per query and key. seen(group, position) is the range of the keys that the row at that position sees.
template <typename Seen>
void lap_attention(const Step& step, const cache::VisitShape& kept, int64_t heads, Seen&& seen) {
  if (step.profile == nullptr) return;
  int64_t pairs = 0;
  int64_t keys = 0;
  for (const RowGroup& group : step.groups) {
    const core::Range first = seen(group, group.first_position);
    core::Range last;
    for (int64_t row = 0; row < group.rows; ++row) {
      last = seen(group, group.first_position + row);
      pairs += last.end - last.begin;
    }
    keys += last.end - first.begin;
  }
  step.profile->lap(Op::kAttention, {.bytes = keys * kept.position_bytes(),
                                     .int8 = 0,
                                     .float32 = 2 * pairs * heads * (kept.key_size + kept.value_size)});
}

}  // namespace lamina::layers

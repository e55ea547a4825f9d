#pragma once

#include <cstdint>
#include <vector>

#include "layers/record.h"
#include "layers/weights.h"

namespace lamina::layers {

/// Which of `buckets` a key `distance` after its query (before it: negative) belongs to: half of them, for each side
/// half of those, hold one distance each, the others widen logarithmically up to `reach`, where the last one begins.
/// Unless bidirectional, all are for keys before the query. Raffel et al. 2020, section 2.1.
int64_t relative_bucket(int64_t distance, int64_t buckets, int64_t reach, bool bidirectional);

/// A learned number per head and bucket of distances, added to the scores of attention (T5, MPNet).
class RelativeBias {
 public:
  /// Reads {weight [buckets, heads], buckets, distance, bidirectional?}; bidirectional unless said otherwise.
  static core::Result<RelativeBias> make(Record record, Weights& weights, int64_t heads, bool bidirectional);

  /// The bias of each distance for one head, as kernels::AttentionRow takes it.
  const float* table(int64_t head) const { return tables_.data() + head * floats_; }
  int64_t reach() const { return reach_; }

 private:
  int64_t reach_ = 0;
  int64_t floats_ = 0;         ///< of a head
  std::vector<float> tables_;  ///< [heads, floats]
};

}  // namespace lamina::layers

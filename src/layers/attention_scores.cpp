#include "layers/attention_scores.h"

#include <algorithm>
#include <memory>

namespace lamina::layers {

namespace {

constexpr int64_t kScoreFloats = int64_t{1} << 16;

/// Positions [begin, end) that some of the rows see.
core::Range seen_keys(const kernels::AttentionArgs& args) {
  core::Range seen{.begin = INT64_MAX, .end = 0};
  for (int64_t i = 0; i < args.rows; ++i) {
    const kernels::AttentionRow& row = args.row_list[i];
    if (row.last_key < row.first_key) continue;
    seen.begin = std::min(seen.begin, row.first_key);
    seen.end = std::max(seen.end, row.last_key + 1);
  }
  return seen;
}

}  // namespace

void record_scores(const kernels::AttentionArgs& args, const ScoredTile& tile, AttentionRecorder& recorder) {
  const core::Range seen = seen_keys(args);
  const int64_t keys = seen.end - seen.begin;
  if (keys <= 0) return;
  const int64_t together = std::clamp<int64_t>(kScoreFloats / keys, 1, args.rows);
  const auto memory = std::make_unique_for_overwrite<float[]>(static_cast<size_t>((together + 1) * keys + 1));
  float* work = memory.get() + together * keys;
  kernels::AttentionArgs some = args;
  for (int64_t first = 0; first < args.rows; first += together) {
    some.rows = std::min(together, args.rows - first);
    some.row_list = args.row_list + first;
    kernels::attention_scores(some, seen.begin, memory.get(), keys);
    for (int64_t i = 0; i < some.rows; ++i) {
      const kernels::AttentionRow& row = some.row_list[i];
      const int64_t token = (first + i) / tile.heads;
      const auto count = static_cast<size_t>(std::max<int64_t>(row.last_key - row.first_key + 1, 0));
      recorder.record({.row = tile.first_row + token,
                       .head = tile.first_head + (first + i) % tile.heads,
                       .position = tile.first_position + token,
                       .first_key = row.first_key,
                       .scores = {memory.get() + i * keys + row.first_key - seen.begin, count},
                       .sink = row.sink,
                       .work = {work, count + 1}});
    }
  }
}

}  // namespace lamina::layers

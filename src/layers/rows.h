#pragma once

#include "core/thread_pool.h"

namespace lamina::layers {

/// Fewer rows than this are quicker done by the caller than handed out.
inline constexpr int64_t kRowsWorthSplitting = 8;

/// Calls function(begin, end) on the threads with the rows that are theirs, or once on the caller when there are few.
template <typename Function>
void split_rows(core::ThreadPool& pool, int64_t rows, Function&& function) {
  if (rows < kRowsWorthSplitting) {
    function(int64_t{0}, rows);
    return;
  }
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(rows, 1, index, threads);
    if (range.begin < range.end) function(range.begin, range.end);
  });
}

/// Calls function(begin, end) on the threads with the columns that are theirs, in steps of a cache line, or once on the
/// caller when there are few rows.
template <typename Function>
void split_columns(core::ThreadPool& pool, int64_t rows, int64_t columns, Function&& function) {
  if (rows < kRowsWorthSplitting) {
    function(int64_t{0}, columns);
    return;
  }
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(columns, 16, index, threads);
    if (range.begin < range.end) function(range.begin, range.end);
  });
}

}  // namespace lamina::layers

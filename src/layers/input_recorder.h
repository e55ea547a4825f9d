#pragma once

#include <cstdint>
#include <span>

namespace lamina::layers {

class Linear;

/// Rows that matrices are about to be multiplied by: `count` rows, `stride` floats apart.
struct InputRows {
  const float* data = nullptr;
  int64_t stride = 0;
  int64_t count = 0;
};

/// Told what matrices read, for statistics. Called by the thread that runs the step, between its parallel parts, which
/// may use the pool.
class InputRecorder {
 public:
  virtual ~InputRecorder() = default;
  /// Each of `readers` is about to be multiplied by these rows.
  virtual void record(std::span<const Linear* const> readers, const InputRows& rows) = 0;
};

}  // namespace lamina::layers

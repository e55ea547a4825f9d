#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cache/kv_cache.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "layers/input_recorder.h"
#include "layers/profile.h"

namespace lamina::layers {

/// Memory for the intermediate values of one sublayer, planned once and handed out from the start again for each
/// sublayer.
class Arena {
 public:
  Arena() = default;
  explicit Arena(std::span<std::byte> memory) : memory_(memory) {}

  void reset() { used_ = 0; }
  template <typename T>
  T* take(int64_t count) {
    std::byte* begin = memory_.data() + used_;
    used_ += padded(count * static_cast<int64_t>(sizeof(T)));
    assert(used_ <= memory_.size());
    return reinterpret_cast<T*>(begin);
  }
  /// Bytes that take() uses for a region of that many bytes.
  static size_t padded(int64_t bytes) {
    return (static_cast<size_t>(bytes) + core::kAlignment - 1) / core::kAlignment * core::kAlignment;
  }

 private:
  std::span<std::byte> memory_;
  size_t used_ = 0;
};

/// Rows of a batch that belong to one sequence, at consecutive positions.
struct RowGroup {
  cache::SequenceId sequence{};
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t first_position = 0;
};

/// Rotation angles of every row of the batch for one kind of rotary embedding: cosines and sines, [rows, dims / 2].
struct RopeAngles {
  const float* cosines = nullptr;
  const float* sines = nullptr;
  int64_t half_dims = 0;
};

/// How big a step may become; memory is planned for it.
struct StepLimits {
  int64_t rows = 0;       ///< of a batch
  int64_t positions = 0;  ///< of a sequence
};

/// What the layers of one step share.
struct Step {
  core::ThreadPool& pool;
  cache::KvCache& cache;
  Arena& arena;
  std::span<std::byte* const> thread_scratch;  ///< one region per thread
  std::span<const RowGroup> groups;
  std::span<const RopeAngles> ropes;
  int64_t rows = 0;
  int visit = 0;  ///< the key of the cache: the position in the route, where keys and values are kept
  cache::KvCache* encoded =
      nullptr;                 ///< what cross attention keeps of the encoder's output, by layer; null without one
  int layer = 0;               ///< the key of `encoded`
  Profile* profile = nullptr;  ///< told at the end of each operation what it was; null: nobody wants to know
  InputRecorder* recorder = nullptr;  ///< told what matrices read; null: nobody wants to know

  void lap(Op op, const OpCost& cost = {}) const {
    if (profile != nullptr) profile->lap(op, cost);
  }
};

}  // namespace lamina::layers

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/cpu_limits.h"

namespace lamina::core {

/// [begin, end) of `total` items that belong to part `index` of `parts`, in steps of `grain`. Depends on the arguments
/// alone.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};
Range split_range(int64_t total, int64_t grain, int index, int parts);

/// Threads that run the same function together and meet at its end. The caller is thread 0.
/// Waiting threads spin briefly, then sleep. Work is split by split_range, never by chance.
class ThreadPool {
 public:
  /// `threads` < 1 means default_threads().
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Calls function(index, threads) once on every thread and returns when all are done. Does not allocate. Not
  /// reentrant.
  template <typename Function>
  void run(Function&& function) {
    using Plain = std::remove_reference_t<Function>;
    run_erased([](void* context, int index, int count) { (*static_cast<Plain*>(context))(index, count); },
               const_cast<void*>(static_cast<const void*>(std::addressof(function))));
  }

 private:
  using Call = void (*)(void* context, int index, int count);
  /// Two cache lines apart from all else, for the processor fetches them in pairs.
  struct alignas(128) Flag {
    std::atomic<uint32_t> epoch{0};
  };
  /// What the caller writes and the others read comes in one line.
  struct alignas(128) Start {
    std::atomic<uint32_t> epoch{0};
    Call call = nullptr;
    void* context = nullptr;
  };

  void run_erased(Call call, void* context);
  void work(int index);

  int threads_ = 1;
  bool spins_ = true;
  Start start_;
  std::unique_ptr<Flag[]> done_;
  std::vector<std::thread> workers_;
};

/// Flushes denormals to zero on the calling thread, as every computing thread must for equal results.
void set_float_mode();

}  // namespace lamina::core

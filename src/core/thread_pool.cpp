#include "core/thread_pool.h"

#include <algorithm>

#include "core/clock.h"
#include "core/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lamina::core {

namespace {

/// How long a thread spins before it sleeps: longer than what lies between two steps of a model.
constexpr double kSpinSeconds = 100e-6;
constexpr int kPausesPerLook = 64;  // a pause takes some 20 to 60 nanoseconds, looking at the clock about as long

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Returns once `flag` differs from `old`, spinning first and then asleep.
void wait_while_equal(const std::atomic<uint32_t>& flag, uint32_t old, bool spin) {
  if (flag.load(std::memory_order_acquire) != old) return;
  for (const Stopwatch watch; spin && watch.seconds() < kSpinSeconds;) {
    for (int i = 0; i < kPausesPerLook; ++i) {
      pause();
      if (flag.load(std::memory_order_acquire) != old) return;
    }
  }
  while (flag.load(std::memory_order_acquire) == old) flag.wait(old, std::memory_order_acquire);
}

}  // namespace

Range split_range(int64_t total, int64_t grain, int index, int parts) {
  const int64_t steps = (total + grain - 1) / grain;
  const int64_t begin = steps * index / parts * grain;
  const int64_t end = steps * (index + 1) / parts * grain;
  return {std::min(begin, total), std::min(end, total)};
}

ThreadPool::ThreadPool(int threads) : threads_(threads < 1 ? default_threads() : threads) {
  cpu_has(Isa::kAmxInt8);  // the system is asked for tile registers before there are threads
  // More threads than processors would spin against the thread that they wait for.
  spins_ = threads_ <= default_threads();
  done_ = std::make_unique<Flag[]>(static_cast<size_t>(threads_));
  workers_.reserve(static_cast<size_t>(threads_ - 1));
  for (int i = 1; i < threads_; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  start_.call = nullptr;
  start_.epoch.fetch_add(1, std::memory_order_release);
  start_.epoch.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_erased(Call call, void* context) {
  set_float_mode();
  if (threads_ == 1) {
    call(context, 0, 1);
    return;
  }
  start_.call = call;
  start_.context = context;
  const uint32_t epoch = start_.epoch.fetch_add(1, std::memory_order_release) + 1;
  start_.epoch.notify_all();
  call(context, 0, threads_);
  for (int i = 1; i < threads_; ++i) {
    auto& flag = done_[static_cast<size_t>(i)].epoch;
    for (uint32_t seen = flag.load(std::memory_order_acquire); seen != epoch;
         seen = flag.load(std::memory_order_acquire)) {
      wait_while_equal(flag, seen, spins_);
    }
  }
}

void ThreadPool::work(int index) {
  set_float_mode();
  uint32_t seen = 0;
  while (true) {
    wait_while_equal(start_.epoch, seen, spins_);
    ++seen;
    if (start_.call == nullptr) return;
    start_.call(start_.context, index, threads_);
    auto& flag = done_[static_cast<size_t>(index)].epoch;
    flag.store(seen, std::memory_order_release);
    flag.notify_one();
  }
}

void set_float_mode() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040U);  // flush to zero, denormals are zero
#endif
}

}  // namespace lamina::core

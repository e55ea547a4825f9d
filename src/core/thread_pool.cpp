#include "core/thread_pool.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lamina::core {

namespace {

constexpr int kSpins = 4000;  // about 50 to 100 microseconds before a thread sleeps

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Returns once `flag` differs from `old`, spinning first and then asleep.
void wait_while_equal(const std::atomic<uint32_t>& flag, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (flag.load(std::memory_order_acquire) != old) return;
    pause();
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
  done_ = std::make_unique<Flag[]>(static_cast<size_t>(threads_));
  workers_.reserve(static_cast<size_t>(threads_ - 1));
  for (int i = 1; i < threads_; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
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
  call_ = call;
  context_ = context;
  const uint32_t epoch = start_.epoch.fetch_add(1, std::memory_order_release) + 1;
  start_.epoch.notify_all();
  call(context, 0, threads_);
  for (int i = 1; i < threads_; ++i) {
    auto& flag = done_[static_cast<size_t>(i)].epoch;
    for (uint32_t seen = flag.load(std::memory_order_acquire); seen != epoch;
         seen = flag.load(std::memory_order_acquire)) {
      wait_while_equal(flag, seen);
    }
  }
}

void ThreadPool::work(int index) {
  set_float_mode();
  uint32_t seen = 0;
  while (true) {
    wait_while_equal(start_.epoch, seen);
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    call_(context_, index, threads_);
    auto& flag = done_[static_cast<size_t>(index)].epoch;
    flag.store(seen, std::memory_order_release);
    flag.notify_one();
  }
}

CpuLimits cpu_limits() {
  CpuLimits limits{.online = std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  if (const long online = sysconf(_SC_NPROCESSORS_ONLN); online > 0) limits.online = static_cast<int>(online);
  cpu_set_t set;
  CPU_ZERO(&set);
  limits.affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : limits.online;
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0;  // the word "max" stops the reading
  double period = 0;
  if (file >> quota >> period && quota > 0 && period > 0) limits.quota = quota / period;
  return limits;
}

int default_threads() {
  const CpuLimits limits = cpu_limits();
  const int granted = limits.quota > 0 ? std::min(limits.affinity, static_cast<int>(limits.quota)) : limits.affinity;
  return std::max(granted, 1);
}

void set_float_mode() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040U);  // flush to zero, denormals are zero
#endif
}

}  // namespace lamina::core

#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "core/thread_pool.h"

namespace lamina::run {

/// Bytes of the first CPU's data caches as the system tells them; 0 where it does not.
struct CacheSizes {
  int64_t l1 = 0;
  int64_t l2 = 0;
  int64_t l3 = 0;
};
CacheSizes cache_sizes();

/// Whether large buffers get huge pages: "always", "madvise" (they ask for them), "never", or "unknown".
std::string huge_pages();

/// What the machine reaches on all threads of a pool.
struct MachinePeaks {
  double read_bytes = 0;  ///< bytes per second read from memory
  double float32 = 0;     ///< float32 operations per second, two per multiply-add
  double int8 = 0;        ///< 8-bit integer operations per second, two per multiply-add
};

/// Bytes per second that the threads of `pool` read together, each in its own part, from a buffer that no cache holds
/// (four times the last cache, at least 256 MiB, at most a quarter of the memory that is free). Nothing is written. The
/// best pass of `seconds`, at least two passes. kLimit when there is no memory for the buffer.
core::Result<double> measure_read_bandwidth(core::ThreadPool& pool, double seconds = 0.35);

/// float32 operations per second of all threads with the strongest instructions that LAMINA_ISA allows: the best slice
/// of `seconds`.
double measure_float_peak(core::ThreadPool& pool, double seconds = 0.2);

/// The same for 8-bit integer operations.
double measure_int8_peak(core::ThreadPool& pool, double seconds = 0.2);

/// All three, about a second.
core::Result<MachinePeaks> measure_peaks(core::ThreadPool& pool);

}  // namespace lamina::run

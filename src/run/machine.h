#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/memory.h"
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
  double read_bytes = 0;           ///< bytes per second read from memory
  double float32 = 0;              ///< float32 operations per second, two per multiply-add
  double int8 = 0;                 ///< 8-bit integer operations per second by vector instructions, two per multiply-add
  std::optional<double> bfloat16;  ///< the same for bfloat16, where there are instructions for it
  /// Operations per second by tile registers: alone, and with every tile used twice and read from the first cache.
  struct Tiles {
    double registers = 0;
    double cached = 0;
  };
  std::optional<Tiles> int8_tiles;
  std::optional<Tiles> bfloat16_tiles;

  /// What products of 8-bit integers are held against.
  double best_int8() const { return int8_tiles ? int8_tiles->cached : int8; }
};

/// Measures how fast the threads of a pool read together, each in its own part, from a buffer that no cache holds (four
/// times the last cache, at least 256 MiB, at most a quarter of the memory that is free). Keeps the buffer, so that
/// passes can be set between other work: what memory gives changes within minutes on a shared machine.
class ReadMeter {
 public:
  /// kLimit when there is no memory for the buffer.
  static core::Result<ReadMeter> create(core::ThreadPool& pool);
  /// Bytes per second of one pass over the buffer. Nothing is written.
  double pass();
  /// The best pass of `seconds`, at least two passes.
  double best(double seconds = 0.35);

 private:
  ReadMeter(core::ThreadPool& pool, core::AlignedBuffer buffer) : pool_(&pool), buffer_(std::move(buffer)) {}

  core::ThreadPool* pool_;
  core::AlignedBuffer buffer_;
};

/// float32 operations per second of all threads with the strongest instructions that LAMINA_ISA allows: the best slice
/// of `seconds`.
double measure_float_peak(core::ThreadPool& pool, double seconds = 0.2);

/// The same for 8-bit integer operations.
double measure_int8_peak(core::ThreadPool& pool, double seconds = 0.2);

/// All of them, about a second, two with tiles; reading is the meter's best.
MachinePeaks measure_peaks(core::ThreadPool& pool, ReadMeter& meter);

}  // namespace lamina::run

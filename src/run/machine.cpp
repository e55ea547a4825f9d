#include "run/machine.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "core/clock.h"
#include "core/memory.h"
#include "kernels/peak.h"

namespace lamina::run {

using core::Result;

namespace {

constexpr int64_t kLeastBuffer = int64_t{256} << 20;
constexpr int64_t kReadGrain = 4096;
constexpr double kSlice = 0.004;  // seconds: long beside the cost of starting threads, short beside a neighbour's burst

/// A size such as "1024K" in a file of the cache's folder.
int64_t read_size(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  char unit = ' ';
  file >> value >> unit;
  return unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : value;
}

/// Operations per second of `multiply` on all threads: slices of about kSlice, the best of `seconds`.
double measure_rate(core::ThreadPool& pool, int64_t (*multiply)(int64_t rounds), double seconds) {
  int64_t rounds = 1000;
  core::Stopwatch one;
  while (multiply(rounds) > 0 && one.seconds() < kSlice / 2) {
    rounds *= 2;
    one.restart();
  }
  const double operations = static_cast<double>(multiply(rounds)) * pool.threads();
  double best = 0;
  for (const core::Stopwatch all; all.seconds() < seconds;) {
    core::Stopwatch slice;
    pool.run([&](int, int) { multiply(rounds); });
    best = std::max(best, operations / slice.seconds());
  }
  return best;
}

}  // namespace

CacheSizes cache_sizes() {
  CacheSizes sizes;
  for (int i = 0; i < 8; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::ifstream level_file(folder + "level");
    std::ifstream type_file(folder + "type");
    int level = 0;
    std::string type;
    if (!(level_file >> level) || !(type_file >> type) || type == "Instruction") continue;
    int64_t* const by_level[] = {&sizes.l1, &sizes.l2, &sizes.l3};
    if (level >= 1 && level <= 3) *by_level[level - 1] = read_size(folder + "size");
  }
  return sizes;
}

std::string huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string word;
  while (file >> word) {
    if (word.size() > 2 && word.front() == '[') return word.substr(1, word.size() - 2);
  }
  return "unknown";
}

Result<ReadMeter> ReadMeter::create(core::ThreadPool& pool) {
  const int64_t wanted = std::min(std::max(kLeastBuffer, 4 * cache_sizes().l3), core::available_bytes() / 4);
  const int64_t bytes = std::max(wanted / kReadGrain, int64_t{1}) * kReadGrain;
  LAMINA_ASSIGN(core::AlignedBuffer buffer, core::AlignedBuffer::allocate(static_cast<size_t>(bytes)));
  // Pages that were never written all show the same page of zeros.
  pool.run([&](int index, int count) {
    const core::Range range = core::split_range(bytes, kReadGrain, index, count);
    std::memset(buffer.data() + range.begin, 1, static_cast<size_t>(range.end - range.begin));
  });
  return ReadMeter(pool, std::move(buffer));
}

double ReadMeter::pass() {
  const auto read = kernels::peak_variant().read;
  const auto bytes = static_cast<int64_t>(buffer_.size());
  const core::Stopwatch watch;
  pool_->run([&](int index, int count) {
    const core::Range range = core::split_range(bytes, kReadGrain, index, count);
    volatile uint64_t sum = read(buffer_.data() + range.begin, static_cast<size_t>(range.end - range.begin));
    (void)sum;
  });
  return static_cast<double>(bytes) / watch.seconds();
}

double ReadMeter::best(double seconds) {
  double best = 0;
  const core::Stopwatch all;
  for (int i = 0; i < 2 || all.seconds() < seconds; ++i) best = std::max(best, pass());
  return best;
}

double measure_float_peak(core::ThreadPool& pool, double seconds) {
  return measure_rate(pool, kernels::peak_variant().multiply_float, seconds);
}

double measure_int8_peak(core::ThreadPool& pool, double seconds) {
  return measure_rate(pool, kernels::peak_variant().multiply_int8, seconds);
}

namespace {

constexpr double kSeconds = 0.2;

std::optional<MachinePeaks::Tiles> measure_tiles(core::ThreadPool& pool, core::Isa isa) {
  const kernels::TilePeak* peak = kernels::tile_peak(isa);
  if (peak == nullptr) return std::nullopt;
  return MachinePeaks::Tiles{.registers = measure_rate(pool, peak->registers, kSeconds),
                             .cached = measure_rate(pool, peak->cached, kSeconds)};
}

}  // namespace

MachinePeaks measure_peaks(core::ThreadPool& pool, ReadMeter& meter) {
  MachinePeaks peaks;
  peaks.read_bytes = meter.best();
  peaks.float32 = measure_float_peak(pool);
  peaks.int8 = measure_int8_peak(pool);
  if (const auto multiply = kernels::peak_variant().multiply_bf16; multiply != nullptr)
    peaks.bfloat16 = measure_rate(pool, multiply, kSeconds);
  peaks.int8_tiles = measure_tiles(pool, core::Isa::kAmxInt8);
  peaks.bfloat16_tiles = measure_tiles(pool, core::Isa::kAmxBf16);
  return peaks;
}

}  // namespace lamina::run

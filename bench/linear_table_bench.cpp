#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/peak.h"
#include "linear_setup.h"

// Every kernel of kernels/linear.h beside the limits of the machine, as a table for docs/performance.md:
//
//   linear_table_bench [--shape OUTPUTSxINPUTS] [--codec NAME]... [--isa NAME]... [--threads N]...
//
// Few rows read matrices in turn until 128 MB are covered, so that weights come from memory as they do in a model.
namespace lamina::kernels {
namespace {

constexpr int64_t kFarBytes = int64_t{128} << 20;
constexpr int64_t kManyRows = 128;
constexpr int kRounds = 5;

struct Options {
  Shape shape{896, 4864};
  std::vector<std::string> codecs;
  std::vector<std::string> isas;
  std::vector<int> threads;

  static bool wanted(const std::vector<std::string>& names, std::string_view name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  }
};

/// Seconds of one call: the median of some rounds of at least `least` seconds.
template <typename Call>
double seconds_of(Call&& call, double least = 0.01) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> rounds;
  for (int round = 0; round <= kRounds; ++round) {
    const auto begin = Clock::now();
    int64_t calls = 0;
    double passed = 0;
    do {
      call();
      ++calls;
      passed = std::chrono::duration<double>(Clock::now() - begin).count();
    } while (passed < least);
    if (round > 0) rounds.push_back(passed / static_cast<double>(calls));  // the first one warms up
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2];
}

/// Limits of the machine with the threads of a pool, in operations and bytes per second.
struct Limits {
  double fp32 = 0;
  double int8 = 0;
  double read = 0;
};

const PeakVariant& peak_of(core::Isa isa) {
  const PeakVariant* best = peak_variants().front();
  for (const PeakVariant* row : peak_variants()) {
    if (row->isa <= isa && core::isa_allowed(row->isa)) best = row;
  }
  return *best;
}

Limits measure_limits(core::ThreadPool& pool, const PeakVariant& peak) {
  constexpr int64_t kLoops = 1 << 16;
  const auto rate = [&](int64_t (*multiply)(int64_t)) {
    std::vector<int64_t> done(static_cast<size_t>(pool.threads()));
    const double seconds =
        seconds_of([&] { pool.run([&](int index, int) { done[static_cast<size_t>(index)] = multiply(kLoops); }); });
    return static_cast<double>(done[0] * pool.threads()) / seconds;
  };
  core::AlignedBuffer memory = core::AlignedBuffer::allocate(2 * kFarBytes).value();
  std::memset(memory.data(), 1, memory.size());
  uint64_t sink = 0;
  const double seconds = seconds_of([&] {
    pool.run([&](int index, int threads) {
      const core::Range range = core::split_range(2 * kFarBytes, 4096, index, threads);
      const uint64_t sum = peak.read(memory.data() + range.begin, static_cast<size_t>(range.end - range.begin));
      if (index == 0) sink += sum;
    });
  });
  if (sink == 1) fmt::print("\n");  // never: the sum is needed
  return {rate(peak.multiply_float), rate(peak.multiply_int8), static_cast<double>(memory.size()) / seconds};
}

struct Bench {
  core::ThreadPool& pool;
  Options options;
  Limits limits;

  double seconds(Setup& setup, int64_t rows, int64_t copies) {
    const auto size = static_cast<size_t>(linear_scratch_bytes(setup.layout, rows));
    std::vector<core::AlignedBuffer> scratch;
    for (int i = 0; i < pool.threads(); ++i) scratch.push_back(core::AlignedBuffer::allocate(size).value());
    int64_t copy = 0;
    return seconds_of([&] {
      pool.run([&](int index, int threads) {
        LinearArgs args = setup.args(rows, copy);
        const core::Range range = core::split_range(setup.layout.panels, 2, index, threads);
        args.panel_begin = range.begin;
        args.panel_end = range.end;
        args.scratch = scratch[static_cast<size_t>(index)].data();
        linear(args);
      });
      copy = copy + 1 < copies ? copy + 1 : 0;
    });
  }

  void row(const LinearVariant& variant, const PanelFormat& format) {
    if (options.shape.inputs % format.block != 0) return;
    Setup setup(variant, options.shape, 512, kFarBytes);
    const double operations = 2.0 * static_cast<double>(options.shape.outputs * options.shape.inputs);
    const double peak =
        variant.activation == InputForm::kFloat || variant.activation == InputForm::kBf16 ? limits.fp32 : limits.int8;
    std::string line =
        fmt::format("| {} | {} | {} |", variant.activation == InputForm::kBf16 ? "bf16 pairs" : variant.codec,
                    core::isa_name(variant.isa), pool.threads());
    double one = 0;
    for (const int64_t rows : {1, 2, 4, 16, 128, 512}) {
      const bool far = rows < kManyRows;
      const double time = seconds(setup, rows, far ? setup.copies : 1);
      const double busy = operations * static_cast<double>(rows) / time / peak;
      if (rows == 1) {
        one = time;
        const double bytes = static_cast<double>(setup.layout.bytes()) / time;
        line += fmt::format(" {:.1f} | {:.0f} % |", bytes * 1e-9, 100 * bytes / limits.read);
      } else if (far) {
        line += fmt::format(" {:.2f} ({:.0f} %) |", static_cast<double>(rows) * one / time, 100 * busy);
      } else {
        line += fmt::format(" {:.0f} % |", 100 * busy);
      }
    }
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }
};

void print_table(const Options& options) {
  fmt::print("{} x {} matrix. Share of peak: int8 products, for float formats fp32.\n\n", options.shape.outputs,
             options.shape.inputs);
  fmt::print(
      "| format | variant | threads | 1 row, GB/s | of read | 2 rows, rate over 1 row (of peak) | 4 rows | 16 rows "
      "| 128 rows, of peak | 512 rows |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  std::string notes;
  for (const int threads : options.threads) {
    core::ThreadPool pool(threads);
    pool.run([](int, int) { core::set_float_mode(); });
    for (const core::Isa isa : core::all_isas()) {
      if (!core::isa_allowed(isa) || !Options::wanted(options.isas, core::isa_name(isa))) continue;
      const bool any = std::any_of(linear_variants().begin(), linear_variants().end(), [&](const LinearVariant& v) {
        return v.isa == isa && Options::wanted(options.codecs, v.codec);
      });
      if (!any) continue;
      Bench bench{pool, options, measure_limits(pool, peak_of(isa))};
      notes +=
          fmt::format("{}, {} threads: fp32 {:.2f} TFLOP/s, int8 {:.2f} TOP/s, read {:.1f} GB/s\n", core::isa_name(isa),
                      threads, bench.limits.fp32 * 1e-12, bench.limits.int8 * 1e-12, bench.limits.read * 1e-9);
      for (const LinearVariant& variant : linear_variants()) {
        if (variant.activation == InputForm::kLargest) continue;  // columns_bench.cpp
        const PanelFormat* format = find_panel_format(variant.codec, variant.activation == InputForm::kFloat);
        if (format != nullptr && variant.isa == isa && Options::wanted(options.codecs, variant.codec))
          bench.row(variant, *format);
      }
    }
  }
  fmt::print("\nLimits: {}", notes);
}

/// Empty on success.
std::string parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (i + 1 == argc) return fmt::format("{}: a value expected", name);
    const std::string value = argv[++i];
    const size_t cross = value.find('x');
    if (name == "--codec") {
      options.codecs.push_back(value);
    } else if (name == "--isa") {
      options.isas.push_back(value);
    } else if (name == "--threads") {
      options.threads.push_back(std::atoi(value.c_str()));
    } else if (name == "--shape" && cross != std::string::npos) {
      options.shape = {std::atoll(value.c_str()), std::atoll(value.c_str() + cross + 1)};
    } else {
      return fmt::format("{} {}: --shape OUTPUTSxINPUTS, --codec, --isa or --threads expected", name, value);
    }
  }
  if (options.isas.empty()) {  // all but the portable rows, which take long
    for (const core::Isa isa : core::all_isas()) {
      if (isa != core::Isa::kScalar) options.isas.emplace_back(core::isa_name(isa));
    }
  }
  if (options.threads.empty()) options.threads = {1, core::default_threads()};
  return {};
}

}  // namespace
}  // namespace lamina::kernels

int main(int argc, char** argv) {
  lamina::kernels::Options options;
  const std::string error = lamina::kernels::parse(argc, argv, options);
  if (!error.empty()) {
    fmt::print(stderr, "{}\n", error);
    return 2;
  }
  lamina::kernels::print_table(options);
  return 0;
}

#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/attention.h"

namespace lamina::kernels {
namespace {

constexpr int64_t kHead = 64;
constexpr int64_t kHeads = 9;
constexpr int64_t kKvHeads = 3;

/// `tokens` new tokens after `depth` cached ones, 9 query heads on 3 key-value heads of 64.
struct Work {
  Work(CacheFormat format, int64_t depth, int64_t tokens) : args{} {
    const int64_t chunks = (depth + tokens + kChunkKeys - 1) / kChunkKeys;
    const int64_t key_bytes = key_chunk_bytes(format, kHead);
    memory = std::move(*core::AlignedBuffer::allocate(static_cast<size_t>(2 * kKvHeads * chunks * key_bytes)));
    scratch =
        std::move(*core::AlignedBuffer::allocate(static_cast<size_t>(attention_scratch_floats(kHead, kHead)) * 4));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    numbers.resize(static_cast<size_t>(tokens * kHeads * kHead));
    out.resize(numbers.size());
    for (float& x : numbers) x = normal(random);
    std::vector<float> one(kHead);
    for (int64_t h = 0; h < kKvHeads; ++h) {
      for (int64_t c = 0; c < 2 * chunks; ++c) {
        std::byte* chunk = memory.data() + (h * 2 * chunks + c) * key_bytes;
        chunk_list.push_back(chunk);
        for (int64_t i = 0; i < kChunkKeys; ++i) {
          for (float& x : one) x = normal(random);
          if (c < chunks) {
            store_key(format, kHead, one.data(), chunk, i);
          } else {
            store_value(format, kHead, one.data(), chunk, i);
          }
        }
      }
    }
    for (int64_t h = 0; h < kKvHeads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t q = 0; q < kHeads / kKvHeads; ++q) {
          const int64_t place = (t * kHeads + h * kHeads / kKvHeads + q) * kHead;
          rows.push_back({numbers.data() + place, out.data() + place, 0, depth + t});
        }
      }
    }
    args.format = format;
    args.head_size = args.value_size = kHead;
    args.scale = 0.125F;
    args.rows = tokens * kHeads / kKvHeads;
    args.scratch = scratch.as<float>();
    chunk_count = chunks;
  }

  void run(const AttentionVariant& variant) {
    for (int64_t h = 0; h < kKvHeads; ++h) {
      args.key_chunks = chunk_list.data() + h * 2 * chunk_count;
      args.value_chunks = args.key_chunks + chunk_count;
      args.row_list = rows.data() + h * args.rows;
      variant.attention(args);
    }
  }

  core::AlignedBuffer memory;
  core::AlignedBuffer scratch;
  std::vector<float> numbers;
  std::vector<float> out;
  std::vector<const std::byte*> chunk_list;
  std::vector<AttentionRow> rows;
  AttentionArgs args;
  int64_t chunk_count = 0;
};

void measure(benchmark::State& state, const AttentionVariant* variant, CacheFormat format, int64_t depth,
             int64_t tokens) {
  core::set_float_mode();
  // As many layers as a decoded token visits, so that small caches do not stay in L1 between calls.
  std::vector<Work> layers;
  layers.reserve(30);
  for (int i = 0; i < (tokens == 1 ? 30 : 1); ++i) layers.emplace_back(format, depth, tokens);
  for (auto _ : state) {
    for (Work& work : layers) work.run(*variant);
  }
  double pairs = 0;
  for (int64_t t = 0; t < tokens; ++t) pairs += static_cast<double>(depth + t + 1);
  const auto count = static_cast<double>(layers.size());
  const double bytes = 2.0 * static_cast<double>((depth + tokens) * kKvHeads * kHead * cache_number_bytes(format));
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(count * pairs * kHeads * kHead * 4 * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["cache GB/s"] = Counter(count * bytes * 1e-9, Counter::kIsIterationInvariantRate);
}

void register_all() {
  struct Case {
    const char* name;
    int64_t depth;
    int64_t tokens;
  };
  for (const auto* variant : attention_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    for (const auto format : {CacheFormat::kF32, CacheFormat::kF16, CacheFormat::kBf16}) {
      for (const Case c : {Case{"prefill512/depth0", 0, 512}, Case{"prefill512/depth2048", 2048, 512},
                           Case{"decode/depth128", 128, 1}, Case{"decode/depth2048", 2048, 1}}) {
        const std::string name =
            std::string(core::isa_name(variant->isa)) + "/" + std::string(cache_format_name(format)) + "/" + c.name;
        benchmark::RegisterBenchmark(name.c_str(), measure, variant, format, c.depth, c.tokens)
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace
}  // namespace lamina::kernels

int main(int argc, char** argv) {
  lamina::kernels::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

// Attention of one layer as the layers run it, on caches of real shapes, with the share of what the machine reaches.
// LAMINA_ISA limits the kernels as everywhere; --benchmark_filter picks rows named MODEL/FORMAT/WORK/THREADS.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/attention.h"
#include "run/machine.h"

namespace lamina::kernels {
namespace {

struct Model {
  const char* name;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_size;
  int64_t value_size;
  bool joined;  ///< a key and its value are one row
};
constexpr Model kModels[] = {{"smollm2", 9, 3, 64, 64, false},
                             {"qwen0.5b", 14, 2, 64, 64, false},
                             {"gemma3", 4, 1, 256, 256, false},
                             {"minilm", 12, 12, 32, 32, false},
                             {"latent", 16, 1, 576, 512, true}};

/// `tokens` new tokens after `depth` cached ones, or texts of `tokens` that see themselves whole.
struct Test {
  const char* name;
  int64_t depth;
  int64_t tokens;
  bool texts = false;
};
constexpr Test kTests[] = {{"prefill512", 0, 512},   {"prefill2048", 0, 2048}, {"prefill512@8192", 8192, 512},
                           {"decode@2048", 2048, 1}, {"decode@8192", 8192, 1}, {"decode@32768", 32768, 1},
                           {"texts91", 0, 91, true}};

constexpr int64_t kTileRows = kAttentionTileRows;
constexpr int64_t kLeastBytes = int64_t{192} << 20;  // of caches that decoding goes through: no cache of a CPU holds it

core::AlignedBuffer buffer(int64_t bytes) {
  return std::move(*core::AlignedBuffer::allocate(static_cast<size_t>(bytes)));
}

/// Keys and values of one layer.
class Cache {
 public:
  Cache(const Model& model, CacheFormat format, int64_t chunks) {
    const int64_t key_bytes = model.joined ? 0 : key_chunk_bytes(format, model.head_size);
    const int64_t value_bytes = value_chunk_bytes(format, model.joined ? model.head_size : model.value_size);
    memory_ = buffer(model.kv_heads * chunks * (key_bytes + value_bytes));
    fill(model, format, key_bytes + value_bytes, key_bytes);
    for (int64_t i = 0; i < model.kv_heads * chunks; ++i) {
      const std::byte* chunk = memory_.data() + i * (key_bytes + value_bytes);
      keys.push_back(chunk);
      values.push_back(chunk + key_bytes);
    }
  }

  std::vector<const std::byte*> keys;  ///< [kv head][chunk]
  std::vector<const std::byte*> values;

 private:
  /// The first chunk is random, the others are its copies.
  void fill(const Model& model, CacheFormat format, int64_t chunk_bytes, int64_t key_bytes) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> one(static_cast<size_t>(std::max(model.head_size, model.value_size)));
    for (int64_t i = 0; i < kChunkKeys; ++i) {
      for (float& x : one) x = normal(random);
      if (!model.joined) store_key(format, model.head_size, one.data(), memory_.data(), i);
      const int64_t size = model.joined ? model.head_size : model.value_size;
      store_value(format, size, one.data(), memory_.data() + key_bytes, i);
    }
    for (size_t at = static_cast<size_t>(chunk_bytes); at < memory_.size(); at += static_cast<size_t>(chunk_bytes))
      std::memcpy(memory_.data() + at, memory_.data(), std::min(static_cast<size_t>(chunk_bytes), memory_.size() - at));
  }
  core::AlignedBuffer memory_;
};

/// One layer's queries and what runs them.
class Work {
 public:
  Work(const Model& model, CacheFormat format, const Test& test, core::ThreadPool& pool)
      : model_(model), format_(format), test_(test), pool_(pool) {
    chunks_ = (test.depth + test.tokens + kChunkKeys - 1) / kChunkKeys;
    segments_ = (chunks_ * kChunkKeys + kSegmentKeys - 1) / kSegmentKeys;
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    queries_.resize(static_cast<size_t>(test.tokens * model.heads * model.head_size));
    for (float& x : queries_) x = normal(random);
    out_.resize(static_cast<size_t>(test.tokens * model.heads * model.value_size));
    for (int i = 0; i < pool.threads(); ++i)
      scratch_.push_back(buffer(attention_scratch_floats(model.head_size, model.value_size) * 4));
    partial_ = buffer(segments_ * model.heads * attention_state_floats(model.value_size) * 4);
    const int64_t layer_bytes = cache_bytes();
    const int64_t layers = test.tokens > 1 ? 1 : std::max<int64_t>(1, kLeastBytes / layer_bytes);
    for (int64_t i = 0; i < layers; ++i) caches_.emplace_back(model, format, chunks_);
  }

  void run() {
    for (const Cache& cache : caches_) test_.tokens == 1 ? decode(cache) : read(cache);
  }
  int64_t layers() const { return std::ssize(caches_); }
  /// Bytes of the cache that a layer must read once.
  int64_t cache_bytes() const {
    const int64_t keys = model_.joined ? 0 : key_chunk_bytes(format_, model_.head_size);
    const int64_t values = value_chunk_bytes(format_, model_.joined ? model_.head_size : model_.value_size);
    return model_.kv_heads * (keys + values) * (test_.depth + test_.tokens) / kChunkKeys;
  }
  /// Operations of the products alone.
  double operations() const {
    double pairs = 0;
    for (int64_t t = 0; t < test_.tokens; ++t)
      pairs += static_cast<double>(test_.texts ? test_.tokens : test_.depth + t + 1);
    return pairs * static_cast<double>(model_.heads * (model_.head_size + model_.value_size) * 2);
  }

 private:
  AttentionArgs arguments(const Cache& cache, int64_t kv_head, int thread) {
    AttentionArgs args;
    args.format = format_;
    args.head_size = model_.head_size;
    args.value_size = model_.value_size;
    args.scale = 0.125F;
    args.key_chunks = model_.joined ? nullptr : cache.keys.data() + kv_head * chunks_;
    args.value_chunks = cache.values.data() + kv_head * chunks_;
    args.scratch = scratch_[static_cast<size_t>(thread)].as<float>();
    return args;
  }
  int64_t rows(int64_t token, int64_t tokens, int64_t kv_head, std::vector<AttentionRow>& list) {
    const int64_t group = model_.heads / model_.kv_heads;
    list.clear();
    for (int64_t t = token; t < token + tokens; ++t) {
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const int64_t place = t * model_.heads + head;
        list.push_back({.query = queries_.data() + place * model_.head_size,
                        .out = out_.data() + place * model_.value_size,
                        .first_key = 0,
                        .last_key = test_.texts ? test_.tokens - 1 : test_.depth + t});
      }
    }
    return std::ssize(list);
  }
  void read(const Cache& cache) {
    const int64_t tile = std::max<int64_t>(1, kTileRows / (model_.heads / model_.kv_heads));
    pool_.run([&](int index, int threads) {
      std::vector<AttentionRow> list;
      int64_t task = 0;
      for (int64_t token = 0; token < test_.tokens; token += tile) {
        for (int64_t head = 0; head < model_.kv_heads; ++head) {
          if (task++ % threads != index) continue;
          AttentionArgs args = arguments(cache, head, index);
          args.rows = rows(token, std::min(tile, test_.tokens - token), head, list);
          args.row_list = list.data();
          attention(args);
        }
      }
    });
  }
  void decode(const Cache& cache) {
    const int64_t state = model_.heads / model_.kv_heads * attention_state_floats(model_.value_size);
    pool_.run([&](int index, int threads) {
      std::vector<AttentionRow> list;
      const core::Range range = core::split_range(model_.kv_heads * segments_, 1, index, threads);
      for (int64_t task = range.begin; task < range.end; ++task) {
        AttentionArgs args = arguments(cache, task / segments_, index);
        args.rows = rows(0, 1, task / segments_, list);
        args.row_list = list.data();
        attention_segments(args, task % segments_, task % segments_ + 1, partial_.as<float>() + task * state);
      }
    });
    std::vector<AttentionRow> list;
    for (int64_t head = 0; head < model_.kv_heads; ++head) {
      AttentionArgs args = arguments(cache, head, 0);
      args.rows = rows(0, 1, head, list);
      args.row_list = list.data();
      attention_merge(args, segments_, partial_.as<float>() + head * segments_ * state, 0, args.rows);
    }
  }

  const Model& model_;
  CacheFormat format_;
  Test test_;
  core::ThreadPool& pool_;
  int64_t chunks_ = 0;
  int64_t segments_ = 0;
  std::vector<float> queries_;
  std::vector<float> out_;
  std::vector<core::AlignedBuffer> scratch_;
  core::AlignedBuffer partial_;
  std::vector<Cache> caches_;
};

core::ThreadPool& pool_of(int threads) {
  static std::map<int, std::unique_ptr<core::ThreadPool>> pools;
  auto& pool = pools[threads];
  if (!pool) pool = std::make_unique<core::ThreadPool>(threads);
  return *pool;
}

const run::MachinePeaks& peaks_of(int threads) {
  static std::map<int, run::MachinePeaks> known;
  if (!known.contains(threads)) {
    run::MachinePeaks peaks;
    peaks.float32 = run::measure_float_peak(pool_of(threads));
    peaks.read_bytes = run::measure_read_bandwidth(pool_of(threads)).value_or(0);
    known[threads] = peaks;
  }
  return known[threads];
}

void measure(benchmark::State& state, const Model& model, CacheFormat format, const Test& test, int threads) {
  core::set_float_mode();
  Work work(model, format, test, pool_of(threads));
  const run::MachinePeaks& peaks = peaks_of(threads);
  for (auto _ : state) work.run();
  using benchmark::Counter;
  const auto layers = static_cast<double>(work.layers());
  const auto rate = Counter::kIsIterationInvariantRate;
  state.counters["us/layer"] = Counter(layers * 1e-6, rate | Counter::kInvert);
  state.counters["GFLOP/s"] = Counter(layers * work.operations() * 1e-9, rate);
  state.counters["%peak"] = Counter(layers * work.operations() / peaks.float32 * 100, rate);
  const double bytes = layers * static_cast<double>(work.cache_bytes());
  state.counters["GB/s"] = Counter(bytes * 1e-9, rate);
  state.counters["%read"] = Counter(bytes / peaks.read_bytes * 100, rate);
}

void register_all() {
  for (const Model& model : kModels) {
    for (const CacheFormat format : cache_formats()) {
      for (const Test& test : kTests) {
        for (const int threads : {1, 2}) {
          if (threads > core::default_threads()) continue;
          const std::string name = std::string(model.name) + "/" + std::string(cache_format_name(format)) + "/" +
                                   test.name + "/" + std::to_string(threads);
          benchmark::RegisterBenchmark(name.c_str(), measure, model, format, test, threads)
              ->Unit(benchmark::kMicrosecond)
              ->UseRealTime();
        }
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

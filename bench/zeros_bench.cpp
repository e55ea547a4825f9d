#if defined(__x86_64__)
#include <benchmark/benchmark.h>
#include <fmt/format.h>

// GCC 12's own header starts some intrinsics from a register it leaves undefined on purpose (GCC bug 105593).
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <bit>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "linear_setup.h"

// From which share of zeros on a product that stores none of them is faster than dense ones. Numbers are those of q8_0;
// instead of 32 bytes a block has a bit for each number and the bytes of those that are not 0, which AVX-512 VBMI2
// expands in registers. One row, one thread; matrices in turn until 128 MB are covered, so that weights come from
// memory as they do in a model. The bits are those of the dense product of q8_0, which is checked first.
namespace lamina::kernels {
namespace {

constexpr Shape kShape{1536, 4096};
constexpr int64_t kLeast = int64_t{128} << 20;
constexpr int64_t kHead = 64 + 32;  // of a block of a panel: a bit for each of 16 x 32 numbers, 16 scales

struct FileBlock {
  uint16_t d;
  int8_t q[32];
};

/// Rows of q8_0, of which `zeros` are 0.
std::vector<FileBlock> make_rows(double zeros) {
  std::mt19937 random(1);
  std::vector<FileBlock> rows(static_cast<size_t>(kShape.outputs * kShape.inputs / 32));
  for (FileBlock& block : rows) {
    block.d = static_cast<uint16_t>(0x1800 + random() % 1024);
    for (int8_t& q : block.q) {
      const bool zero = static_cast<double>(random()) < zeros * 0x1p32;
      q = static_cast<int8_t>(zero ? 0 : 1 + static_cast<int>(random() % 127));
      if (random() % 2 == 0) q = static_cast<int8_t>(-q);
    }
  }
  return rows;
}

/// A panel after the other: masks, scales and bytes plus 128, block by block, ascending in the order of the bits
/// (groups of 4 inputs, outputs, inputs).
std::vector<uint8_t> make_panels(const std::vector<FileBlock>& rows, std::vector<int64_t>& begins) {
  const int64_t blocks = kShape.inputs / 32;
  std::vector<uint8_t> out;
  for (int64_t panel = 0; panel < kShape.outputs / kPanel; ++panel) {
    begins.push_back(std::ssize(out));
    for (int64_t b = 0; b < blocks; ++b) {
      const size_t head = out.size();
      out.resize(head + kHead);
      for (int64_t g = 0; g < 8; ++g) {
        uint64_t mask = 0;
        for (int64_t lane = 0; lane < 64; ++lane) {
          const FileBlock& block = rows[static_cast<size_t>((panel * kPanel + lane / 4) * blocks + b)];
          const int8_t q = block.q[4 * g + lane % 4];
          if (q == 0) continue;
          mask |= uint64_t{1} << lane;
          out.push_back(static_cast<uint8_t>(q + 128));
        }
        std::memcpy(out.data() + head + static_cast<size_t>(8 * g), &mask, sizeof(mask));
      }
      for (int64_t o = 0; o < kPanel; ++o) {
        const uint16_t d = rows[static_cast<size_t>((panel * kPanel + o) * blocks + b)].d;
        std::memcpy(out.data() + head + 64 + static_cast<size_t>(2 * o), &d, sizeof(d));
      }
    }
  }
  out.resize(out.size() + 64);  // what the last load reads too far
  return out;
}

#define LAMINA_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi2,popcnt")))

LAMINA_TARGET void product(const uint8_t* panel, const std::byte* row, float* y) {
  const BlockRow at = BlockRow::of(kShape.inputs);
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(-128));
  __m512 sum = _mm512_setzero_ps();
  for (int64_t b = 0; b < kShape.inputs / 32; ++b) {
    const uint8_t* values = panel + kHead;
    int32_t start = 0;
    std::memcpy(&start, row + at.bias + 4 * b, sizeof(start));
    __m512i s = _mm512_set1_epi32(start);
    for (int g = 0; g < 8; ++g) {
      uint64_t mask = 0;
      int32_t x = 0;
      std::memcpy(&mask, panel + 8 * g, sizeof(mask));
      std::memcpy(&x, row + 32 * b + 4 * g, sizeof(x));
      for (int64_t line = 0; g == 0 && line < 512; line += 64) __builtin_prefetch(values + 2048 + line);
      const __m512i w = _mm512_mask_expand_epi8(zero, mask, _mm512_loadu_si512(values));
      s = _mm512_dpbusd_epi32(s, w, _mm512_set1_epi32(x));
      values += std::popcount(mask);
    }
    const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 64)));
    float scale = 0;
    std::memcpy(&scale, row + at.scale + 4 * b, sizeof(scale));
    sum = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(s), d), _mm512_set1_ps(scale), sum);
    panel = values;
  }
  _mm512_storeu_ps(y, sum);
}

void bench_zeros(benchmark::State& state, double zeros) {
  const std::vector<FileBlock> rows = make_rows(zeros);
  std::vector<int64_t> begins;
  const std::vector<uint8_t> one = make_panels(rows, begins);
  const int64_t copies = kLeast / std::ssize(one) + 1;
  std::vector<uint8_t> all;
  for (int64_t i = 0; i < copies; ++i) all.insert(all.end(), one.begin(), one.end());

  const codec::Codec& codec = *codec::find_codec("q8_0");
  const WeightLayout layout = weight_layout(codec, kShape.outputs, kShape.inputs).value();
  const ActivationLayout form = activation_layout(layout);
  core::AlignedBuffer row = core::AlignedBuffer::allocate(static_cast<size_t>(form.row_bytes)).value();
  std::vector<float> x(static_cast<size_t>(kShape.inputs));
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& value : x) value = normal(random);
  quantize_rows(form, x.data(), kShape.inputs, 1, row.data());
  std::vector<float> y(static_cast<size_t>(kShape.outputs));
  const auto multiply = [&](int64_t copy) {
    for (size_t p = 0; p < begins.size(); ++p)
      product(all.data() + copy * std::ssize(one) + begins[p], row.data(), y.data() + p * kPanel);
  };

  core::AlignedBuffer packed = core::AlignedBuffer::allocate(static_cast<size_t>(layout.bytes())).value();
  pack_panels(layout, reinterpret_cast<const std::byte*>(rows.data()), 0, layout.panels, packed.data());
  core::AlignedBuffer scratch =
      core::AlignedBuffer::allocate(static_cast<size_t>(linear_scratch_bytes(layout, 1))).value();
  std::vector<float> wanted(y.size());
  linear({.layout = &layout,
          .packed = packed.data(),
          .panel_end = layout.panels,
          .activations = row.data(),
          .rows = 1,
          .y = wanted.data(),
          .y_stride = kShape.outputs,
          .scratch = scratch.data()});
  multiply(0);
  if (y != wanted) std::abort();

  int64_t copy = 0;
  for (auto _ : state) {
    multiply(copy);
    copy = copy + 1 < copies ? copy + 1 : 0;
    benchmark::ClobberMemory();
  }
  state.counters["bits"] = 8.0 * static_cast<double>(one.size()) / static_cast<double>(kShape.outputs * kShape.inputs);
}

void bench_dense(benchmark::State& state, std::string_view name) {
  const WeightLayout layout = time_dense_row(state, *codec::find_codec(name), kShape, kLeast);
  state.counters["bits"] =
      8.0 * static_cast<double>(layout.bytes()) / static_cast<double>(kShape.outputs * kShape.inputs);
}

void register_all() {
  for (const char* name : {"f16", "q8_0", "q5_k", "q4_k", "q3_k", "q2_k"})
    benchmark::RegisterBenchmark(fmt::format("dense/{}", name).c_str(), bench_dense, name);
  if (!__builtin_cpu_supports("avx512vbmi2") || !__builtin_cpu_supports("avx512vnni")) return;
  for (const double zeros : {0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95})
    benchmark::RegisterBenchmark(fmt::format("zeros/{:.0f}%", 100 * zeros).c_str(), bench_zeros, zeros);
}

}  // namespace
}  // namespace lamina::kernels

int main(int argc, char** argv) {
  lamina::kernels::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
#else
int main() {}  // these instructions are x86's
#endif

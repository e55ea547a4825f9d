#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <random>
#include <vector>

#include "core/memory.h"
#include "kernels/columns.h"
#include "linear_setup.h"

// From which share of left-out inputs on a product that skips them is faster than the dense one. One thread, one row;
// matrices in turn until 128 MB are covered, so that weights come from memory as they do in a model. "dense" is what
// the program runs otherwise: bfloat16 or 8-bit activations where the format has them.
namespace lamina::kernels {
namespace {

constexpr Shape kShape{1536, 4096};
constexpr int64_t kLeast = int64_t{128} << 20;

void bench_dense(benchmark::State& state, const codec::Codec& codec) {
  time_dense_row(state, codec, kShape, kLeast);
}

/// `share` of the inputs at random places, chosen anew for each product by their size, which counts too.
void bench_columns(benchmark::State& state, const codec::Codec& codec, double share) {
  const auto kept = static_cast<int64_t>(share * static_cast<double>(kShape.inputs));
  const WeightLayout layout = weight_layout(codec, kShape.outputs, kShape.inputs, false, kept).value();
  const ActivationLayout form = activation_layout(layout);
  const int64_t copies = kLeast / layout.bytes() + 1;
  core::AlignedBuffer packed = core::AlignedBuffer::allocate(static_cast<size_t>(copies * layout.bytes())).value();
  auto* words = packed.as<uint32_t>();
  uint32_t seed = 1;
  for (size_t i = 0; i < packed.size() / 4; ++i) words[i] = (seed = seed * 1664525U + 1013904223U) & 0x3bff3bffU;
  std::mt19937 random(1);
  std::vector<float> x(static_cast<size_t>(kShape.inputs * copies));
  std::normal_distribution<float> normal;
  for (float& value : x) value = normal(random);
  core::AlignedBuffer row = core::AlignedBuffer::allocate(static_cast<size_t>(form.row_bytes)).value();
  core::AlignedBuffer scratch =
      core::AlignedBuffer::allocate(static_cast<size_t>(linear_scratch_bytes(layout, 1))).value();
  std::vector<float> y(static_cast<size_t>(kShape.outputs));
  int64_t copy = 0;
  for (auto _ : state) {
    quantize_rows(form, x.data() + copy * kShape.inputs, kShape.inputs, 1, row.data());
    linear({.layout = &layout,
            .packed = packed.data() + copy * layout.bytes(),
            .panel_end = layout.panels,
            .activations = row.data(),
            .rows = 1,
            .y = y.data(),
            .y_stride = kShape.outputs,
            .scratch = scratch.data()});
    copy = copy + 1 < copies ? copy + 1 : 0;
    benchmark::ClobberMemory();
  }
}

void register_all() {
  for (const char* name : {"f32", "f16", "bf16", "q8_0"}) {
    const codec::Codec& codec = *codec::find_codec(name);
    benchmark::RegisterBenchmark(fmt::format("{}/dense", name).c_str(), bench_dense, codec);
    for (const double share : {1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1}) {
      benchmark::RegisterBenchmark(fmt::format("{}/inputs:{:.0f}%", name, 100 * share).c_str(), bench_columns, codec,
                                   share);
    }
  }
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

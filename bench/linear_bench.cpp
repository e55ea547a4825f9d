#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "linear_setup.h"

// One thread. One row reads matrices in turn until 128 MB are covered, so that weights come from memory as they do in
// a model; many rows use one matrix. bytes_per_second counts weights, items_per_second multiplies and adds.
namespace lamina::kernels {
namespace {

void bench(benchmark::State& state, const LinearVariant& variant, Shape shape, int64_t rows) {
  Setup setup(variant, shape, rows, rows == 1 ? int64_t{128} << 20 : 0);
  core::AlignedBuffer scratch =
      core::AlignedBuffer::allocate(static_cast<size_t>(linear_scratch_bytes(setup.layout, rows))).value();
  int64_t copy = 0;
  for (auto _ : state) {
    LinearArgs args = setup.args(rows, copy);
    args.scratch = scratch.data();
    linear(args);
    copy = copy + 1 < setup.copies ? copy + 1 : 0;
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * setup.layout.bytes());
  state.SetItemsProcessed(state.iterations() * 2 * shape.outputs * shape.inputs * rows);
}

void bench_quantize(benchmark::State& state, InputForm kind) {
  constexpr int64_t kInputs = 1536;
  constexpr int64_t kRows = 64;
  const int64_t bytes = kind == InputForm::kInt8Block ? BlockRow::of(kInputs).bytes : SuperRow::of(kInputs).bytes;
  std::vector<float> x(kInputs * kRows);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& value : x) value = normal(random);
  core::AlignedBuffer out = core::AlignedBuffer::allocate(static_cast<size_t>(bytes * kRows)).value();
  for (auto _ : state) {
    quantize_rows({kind, kInputs, bytes}, x.data(), kInputs, kRows, out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kInputs * kRows);
}

/// Rows in file layout to panels; items are weights. The source is as large as a big matrix of a small model.
void bench_pack(benchmark::State& state, const PanelFormat& format) {
  constexpr int64_t kOutputs = 4096;
  constexpr int64_t kInputs = 1536;
  const codec::Codec codec = bare_codec(format);
  const WeightLayout layout = weight_layout(codec, kOutputs, kInputs).value();
  std::vector<std::byte> rows(static_cast<size_t>(layout.bytes()), std::byte{17});
  core::AlignedBuffer packed = core::AlignedBuffer::allocate(static_cast<size_t>(layout.bytes())).value();
  for (auto _ : state) {
    pack_panels(layout, rows.data(), 0, layout.panels, packed.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kOutputs * kInputs);
  state.SetBytesProcessed(state.iterations() * layout.bytes());
}

/// Reads memory and nothing else: what one row can hope for.
void bench_read(benchmark::State& state) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  core::AlignedBuffer memory = core::AlignedBuffer::allocate(kBytes).value();
  std::memset(memory.data(), 1, memory.size());
  const auto* words = memory.as<uint64_t>();
  for (auto _ : state) {
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < kBytes / 8; i += 8) {
      for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
    }
    benchmark::DoNotOptimize(sums);
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}

void register_all() {
  benchmark::RegisterBenchmark("read", bench_read);
  benchmark::RegisterBenchmark("quantize/block", bench_quantize, InputForm::kInt8Block);
  benchmark::RegisterBenchmark("quantize/super", bench_quantize, InputForm::kInt8Super);
  for (const PanelFormat& format : panel_formats()) {
    benchmark::RegisterBenchmark(fmt::format("pack/{}", format.codec).c_str(), bench_pack, format);
  }
  constexpr Shape kShapes[] = {{576, 576}, {576, 1536}, {1536, 576}, {896, 4864}, {49152, 576}, {1024, 2048}};
  for (const LinearVariant& variant : linear_variants()) {
    if (variant.activation == InputForm::kLargest) continue;  // columns_bench.cpp
    const PanelFormat* format = find_panel_format(variant.codec, variant.activation == InputForm::kFloat);
    if (format == nullptr || !core::isa_allowed(variant.isa)) continue;
    for (const Shape shape : kShapes) {
      if (shape.inputs % format->block != 0) continue;
      for (const int64_t rows : {1, 4, 16, 512}) {
        const bool pairs = variant.activation == InputForm::kBf16;
        const std::string name = fmt::format("{}/{}/{}x{}/{}", pairs ? "bf16pairs" : variant.codec,
                                             core::isa_name(variant.isa), shape.outputs, shape.inputs, rows);
        benchmark::RegisterBenchmark(
            name.c_str(), [&variant, shape, rows](benchmark::State& state) { bench(state, variant, shape, rows); });
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

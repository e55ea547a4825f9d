#include "stats/imatrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <list>

#include "codec/codec.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"

namespace lamina::stats {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr std::string_view kSquares = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

core::TensorView floats(const std::vector<float>& values, int64_t rows) {
  return {.format = &codec::find_codec("f32")->format,
          .rank = 2,
          .shape = {rows, std::ssize(values) / rows, 1, 1},
          .data = reinterpret_cast<const std::byte*>(values.data())};
}

/// A matrix of float32 without numbers below 0.
Result<std::vector<float>> read_floats(const core::TensorView& view, const std::string& place) {
  if (view.format != &codec::find_codec("f32")->format || view.rank > 3)
    return fail(ErrorCode::kCorrupt, place, "is {} of {} dimensions; f32 of at most 3 expected", view.format->name,
                view.rank);
  std::vector<float> values(static_cast<size_t>(view.elements()));
  codec::find_codec("f32")->decode(view.data, view.elements(), values.data());
  const auto bad = std::ranges::find_if(values, [](float value) { return !(value >= 0) || std::isinf(value); });
  if (bad == values.end()) return values;
  return fail(ErrorCode::kCorrupt, place, "number {} is {}; finite ones from 0 on expected", bad - values.begin(),
              *bad);
}

Result<MatrixStats> read_matrix(const format::Gguf& file, std::string_view name, const core::TensorView& squares,
                                const std::string& path) {
  MatrixStats stats{.tensor = std::string(name), .inputs = squares.columns(), .squares = {}, .rows = {}};
  const core::TensorView* counts = file.find_tensor(stats.tensor + std::string(kCounts));
  if (counts == nullptr || counts->elements() != squares.rows() || squares.elements() == 0) {
    return fail(ErrorCode::kCorrupt, path, "{}{} is missing or not one number for each of {} matrices", name, kCounts,
                squares.rows());
  }
  const std::string place = fmt::format("{}: {}", path, name);
  LAMINA_ASSIGN(const std::vector<float> sums, read_floats(squares, place));
  LAMINA_ASSIGN(const std::vector<float> rows, read_floats(*counts, place));
  stats.squares.assign(sums.begin(), sums.end());
  for (const float count : rows) stats.rows.push_back(std::llround(std::min(count, 1e15F)));
  return stats;
}

}  // namespace

Status write_imatrix(const Statistics& statistics, const std::filesystem::path& path) {
  if (statistics.tokens == 0) return fail(ErrorCode::kInvalid, path.string(), "statistics of no tokens");
  format::GgufWriter writer;
  writer.set("general.type", std::string("imatrix"));
  writer.set("imatrix.datasets", std::vector<std::string>{statistics.texts});
  // One chunk of all tokens: counts of rows stay whole.
  writer.set("imatrix.chunk_count", uint32_t{1});
  writer.set("imatrix.chunk_size", static_cast<uint32_t>(std::min<int64_t>(statistics.tokens, UINT32_MAX)));
  std::list<std::vector<float>> kept;
  for (const MatrixStats& stats : statistics.matrices) {
    const auto& squares = kept.emplace_back(stats.squares.begin(), stats.squares.end());
    LAMINA_CHECK_OK(writer.add_tensor(stats.tensor + std::string(kSquares), floats(squares, stats.matrices())));
    const auto& counts = kept.emplace_back(stats.rows.begin(), stats.rows.end());
    LAMINA_CHECK_OK(writer.add_tensor(stats.tensor + std::string(kCounts), floats(counts, stats.matrices())));
  }
  return writer.write(path);
}

Result<Statistics> read_imatrix(const std::filesystem::path& path) {
  LAMINA_ASSIGN(const format::Gguf file, format::Gguf::open(path));
  LAMINA_ASSIGN(const std::string type, file.get_or<std::string>("general.type", ""));
  if (type != "imatrix")
    return fail(ErrorCode::kCorrupt, path.string(), "general.type is \"{}\"; \"imatrix\" expected", type);
  Statistics out;
  LAMINA_ASSIGN(const int64_t chunks, file.get_or<int64_t>("imatrix.chunk_count", 0));
  LAMINA_ASSIGN(const int64_t size, file.get_or<int64_t>("imatrix.chunk_size", 0));
  if (__builtin_mul_overflow(chunks, size, &out.tokens) || out.tokens < 0)
    return fail(ErrorCode::kCorrupt, path.string(), "{} chunks of {} tokens", chunks, size);
  for (const format::NamedTensor& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSquares)) continue;
    const std::string_view name = tensor.name.substr(0, tensor.name.size() - kSquares.size());
    LAMINA_ASSIGN(MatrixStats stats, read_matrix(file, name, tensor.view, path.string()));
    out.matrices.push_back(std::move(stats));
  }
  out.texts = path.filename().string();
  return out;
}

}  // namespace lamina::stats

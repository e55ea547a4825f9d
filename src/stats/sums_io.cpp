#include "stats/sums_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec/codec.h"

namespace lamina::stats {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr const char* kAttention = "attention";

core::TensorView float64(int64_t rows, int64_t columns, const void* data) {
  return {.format = &codec::find_codec("f64")->format,
          .rank = 2,
          .shape = {rows, columns, 1, 1},
          .data = static_cast<const std::byte*>(data)};
}

/// The numbers of a matrix of float64 that are finite and not below 0; `rows` 0: any count.
Result<std::vector<double>> read_matrix(const format::Safetensors& file, const std::string& name, int64_t rows,
                                        int64_t columns, const std::string& place) {
  const core::TensorView* tensor = file.find_tensor(name);
  const bool fits = tensor != nullptr && tensor->format == &codec::find_codec("f64")->format && tensor->rank == 2 &&
                    (rows == 0 ? tensor->shape[0] > 0 : tensor->shape[0] == rows) && tensor->shape[1] == columns;
  if (!fits) {
    return fail(ErrorCode::kCorrupt, place, "{} is missing or not f64 [{}, {}]", name,
                rows == 0 ? "rows" : std::to_string(rows), columns);
  }
  std::vector<double> numbers(static_cast<size_t>(tensor->elements()));
  std::memcpy(numbers.data(), tensor->data, static_cast<size_t>(tensor->bytes()));
  const auto bad = std::ranges::find_if(numbers, [](double x) { return !(x >= 0) || std::isinf(x); });
  if (bad == numbers.end()) return numbers;
  return fail(ErrorCode::kCorrupt, place, "{}: number {} is {}; finite ones from 0 on expected", name,
              bad - numbers.begin(), *bad);
}

std::string attention_name(int layer) {
  return fmt::format("{}.{}", kAttention, layer);
}

Status read_attention(const nlohmann::json& entry, const format::Safetensors& file, const std::string& place,
                      Statistics& out) {
  AttentionStats& stats = out.attention.emplace_back();
  stats.layer = entry.at("layer").get<int>();
  stats.rows = entry.at("rows").get<int64_t>();
  if (stats.layer < 0 || stats.rows <= 0)
    return fail(ErrorCode::kCorrupt, place, "attention of {} rows in layer {}", stats.rows, stats.layer);
  LAMINA_ASSIGN(const std::vector<double> numbers,
                read_matrix(file, attention_name(stats.layer), 0, kHeadNumbers, place));
  stats.heads.resize(numbers.size() / static_cast<size_t>(kHeadNumbers));
  std::memcpy(stats.heads.data(), numbers.data(), numbers.size() * sizeof(double));
  return {};
}

}  // namespace

Status write_sums(const Statistics& statistics, format::SafetensorsWriter& writer, nlohmann::ordered_json& head) {
  for (const AttentionStats& stats : statistics.attention) {
    head[kAttention].push_back({{"layer", stats.layer}, {"rows", stats.rows}});
    LAMINA_CHECK_OK(writer.add_tensor(attention_name(stats.layer),
                                      float64(std::ssize(stats.heads), kHeadNumbers, stats.heads.data())));
  }
  return {};
}

Status read_sums(const nlohmann::json& head, const format::Safetensors& file, const std::string& place,
                 Statistics& out) {
  try {
    for (const nlohmann::json& entry : head.value(kAttention, nlohmann::json::array()))
      LAMINA_CHECK_OK(read_attention(entry, file, place, out));
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, place, "{}: {}", kAttention, error.what());
  }
  return {};
}

Status merge_sums(const Statistics& other, Statistics& own) {
  if (own.attention.empty() != other.attention.empty())
    return fail(ErrorCode::kInvalid, "statistics", "one of two parts tells of attention; both or none expected");
  const auto alike = [](const AttentionStats& a, const AttentionStats& b) {
    return a.layer == b.layer && a.heads.size() == b.heads.size();
  };
  if (!std::ranges::equal(own.attention, other.attention, alike))
    return fail(ErrorCode::kInvalid, "statistics", "of attention in other layers, so made by another recipe");
  for (size_t i = 0; i < own.attention.size(); ++i) {
    AttentionStats& sums = own.attention[i];
    sums.rows += other.attention[i].rows;
    for (size_t h = 0; h < sums.heads.size(); ++h) sums.heads[h] += other.attention[i].heads[h];
  }
  return {};
}

}  // namespace lamina::stats

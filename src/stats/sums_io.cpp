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
constexpr const char* kExperts = "experts";
constexpr int64_t kMostExperts = 1 << 16;  ///< of a layer in a file

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
  std::memcpy(static_cast<void*>(stats.heads.data()), numbers.data(), numbers.size() * sizeof(double));
  return {};
}

std::string expert_name(int layer, std::string_view what) {
  return fmt::format("{}.{}.{}", kExperts, layer, what);
}

Status read_experts(const nlohmann::json& entry, const format::Safetensors& file, const std::string& place,
                    Statistics& out) {
  ExpertStats& stats = out.experts.emplace_back();
  stats.layer = entry.at("layer").get<int>();
  stats.rows = entry.at("rows").get<int64_t>();
  const auto count = entry.at("experts").get<int64_t>();
  if (stats.layer < 0 || stats.rows < 0 || count <= 0 || count > kMostExperts) {
    return fail(ErrorCode::kCorrupt, place, "{} experts over {} rows in layer {}; at most {} expected", count,
                stats.rows, stats.layer, kMostExperts);
  }
  LAMINA_ASSIGN(stats.shares, read_matrix(file, expert_name(stats.layer, "shares"), 1, count, place));
  LAMINA_ASSIGN(stats.together,
                read_matrix(file, expert_name(stats.layer, "together"), 1, triangle_size(count), place));
  return {};
}

Status merge_experts(const Statistics& other, Statistics& own) {
  const auto alike = [](const ExpertStats& a, const ExpertStats& b) {
    return a.layer == b.layer && a.experts() == b.experts();
  };
  if (!std::ranges::equal(own.experts, other.experts, alike))
    return fail(ErrorCode::kInvalid, "statistics", "of other layers with experts, so made by another recipe");
  for (size_t i = 0; i < own.experts.size(); ++i) own.experts[i] += other.experts[i];
  return {};
}

}  // namespace

Status write_sums(const Statistics& statistics, format::SafetensorsWriter& writer, nlohmann::ordered_json& head) {
  for (const AttentionStats& stats : statistics.attention) {
    head[kAttention].push_back({{"layer", stats.layer}, {"rows", stats.rows}});
    LAMINA_CHECK_OK(writer.add_tensor(attention_name(stats.layer),
                                      float64(std::ssize(stats.heads), kHeadNumbers, stats.heads.data())));
  }
  for (const ExpertStats& stats : statistics.experts) {
    head[kExperts].push_back({{"layer", stats.layer}, {"rows", stats.rows}, {"experts", stats.experts()}});
    LAMINA_CHECK_OK(
        writer.add_tensor(expert_name(stats.layer, "shares"), float64(1, stats.experts(), stats.shares.data())));
    LAMINA_CHECK_OK(writer.add_tensor(expert_name(stats.layer, "together"),
                                      float64(1, std::ssize(stats.together), stats.together.data())));
  }
  return {};
}

Status read_sums(const nlohmann::json& head, const format::Safetensors& file, const std::string& place,
                 Statistics& out) {
  try {
    for (const nlohmann::json& entry : head.value(kAttention, nlohmann::json::array()))
      LAMINA_CHECK_OK(read_attention(entry, file, place, out));
    for (const nlohmann::json& entry : head.value(kExperts, nlohmann::json::array()))
      LAMINA_CHECK_OK(read_experts(entry, file, place, out));
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, place, "{} or {}: {}", kAttention, kExperts, error.what());
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
  LAMINA_CHECK_OK(merge_experts(other, own));
  for (size_t i = 0; i < own.attention.size(); ++i) {
    AttentionStats& sums = own.attention[i];
    sums.rows += other.attention[i].rows;
    for (size_t h = 0; h < sums.heads.size(); ++h) sums.heads[h] += other.attention[i].heads[h];
  }
  return {};
}

}  // namespace lamina::stats

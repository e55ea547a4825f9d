#include "stats/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "core/checksum.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "stats/imatrix.h"

namespace lamina::stats {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr std::string_view kKey = "lamina.statistics";
constexpr std::string_view kSquares = ".squares";
constexpr int64_t kSampled = 256;  ///< bytes of each tensor that the fingerprint reads

const core::NumberFormat& float64() {
  return codec::find_codec("f64")->format;
}

}  // namespace

std::vector<float> MatrixStats::importance(int64_t matrix) const {
  const auto count = static_cast<size_t>(inputs);
  std::vector<double> sums(count);
  double read = 0;
  const auto add = [&](int64_t index) {
    for (size_t i = 0; i < count; ++i) sums[i] += squares[static_cast<size_t>(index) * count + i];
    read += static_cast<double>(rows[static_cast<size_t>(index)]);
  };
  if (rows[static_cast<size_t>(matrix)] > 0) {
    add(matrix);
  } else {
    for (int64_t i = 0; i < matrices(); ++i) add(i);
  }
  if (read == 0) return {};
  std::vector<float> out;
  for (const double sum : sums) out.push_back(static_cast<float>(sum / read));
  return out;
}

const MatrixStats* Statistics::find(std::string_view tensor) const {
  const auto found = std::ranges::find(matrices, tensor, &MatrixStats::tensor);
  return found == matrices.end() ? nullptr : &*found;
}

Status Statistics::merge(const Statistics& other) {
  if (other.model != model)
    return fail(ErrorCode::kInvalid, "statistics", "of model {}; {} expected", other.model, model);
  const auto alike = [](const MatrixStats& a, const MatrixStats& b) {
    return a.tensor == b.tensor && a.inputs == b.inputs && a.rows.size() == b.rows.size();
  };
  const auto same_part = [](const PartStats& a, const PartStats& b) { return a.layer == b.layer && a.role == b.role; };
  if (!std::ranges::equal(matrices, other.matrices, alike) || !std::ranges::equal(parts, other.parts, same_part))
    return fail(ErrorCode::kInvalid, "statistics", "of other matrices or parts, so made by another recipe");
  for (size_t m = 0; m < matrices.size(); ++m) {
    for (size_t i = 0; i < matrices[m].squares.size(); ++i) matrices[m].squares[i] += other.matrices[m].squares[i];
    for (size_t i = 0; i < matrices[m].rows.size(); ++i) matrices[m].rows[i] += other.matrices[m].rows[i];
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].rows += other.parts[i].rows;
    parts[i].cosine += other.parts[i].cosine;
    parts[i].contribution += other.parts[i].contribution;
    parts[i].length_before += other.parts[i].length_before;
    parts[i].length_after += other.parts[i].length_after;
  }
  tokens += other.tokens;
  texts += "+" + other.texts;
  return {};
}

namespace {

Status check_tensors(const Statistics& statistics, const format::ModelFiles& files, std::string_view place) {
  for (const MatrixStats& stats : statistics.matrices) {
    const core::TensorView* tensor = files.find(stats.tensor);
    if (tensor == nullptr)
      return fail(ErrorCode::kInvalid, place, "tensor {}, which {} has not", stats.tensor, files.path().string());
    if (tensor->columns() == stats.inputs) continue;
    return fail(ErrorCode::kInvalid, place, "tensor {} with {} inputs; {} expected, as {} has", stats.tensor,
                stats.inputs, tensor->columns(), files.path().string());
  }
  return {};
}

}  // namespace

Status Statistics::check_model(const format::ModelFiles& files, std::string_view place) const {
  if (model.empty()) return check_tensors(*this, files, place);
  const std::string own = fingerprint(files);
  if (own == model) return {};
  return fail(ErrorCode::kInvalid, place, "statistics of model {}; those of {}, which is {}, expected", model,
              files.path().string(), own);
}

std::string fingerprint(const format::ModelFiles& files) {
  std::string all;
  for (const format::NamedTensor& tensor : files.tensors()) {
    all += tensor.name;
    all += tensor.view.format->name;
    for (int i = 0; i < tensor.view.rank; ++i) all += fmt::format(" {}", tensor.view.shape[static_cast<size_t>(i)]);
    const auto bytes = static_cast<size_t>(std::min(tensor.view.bytes(), kSampled));
    all.append(reinterpret_cast<const char*>(tensor.view.data), bytes);
  }
  return fmt::format("{:016x}", core::checksum(std::as_bytes(std::span(all))));
}

Status save(const Statistics& statistics, const std::filesystem::path& path) {
  if (path.extension() == ".gguf") return write_imatrix(statistics, path);
  nlohmann::ordered_json head{{"model", statistics.model}, {"texts", statistics.texts}, {"tokens", statistics.tokens}};
  format::SafetensorsWriter writer;
  for (const MatrixStats& one : statistics.matrices) {
    head["rows"][one.tensor] = one.rows;
    const core::TensorView view{.format = &float64(),
                                .rank = 2,
                                .shape = {one.matrices(), one.inputs, 1, 1},
                                .data = reinterpret_cast<const std::byte*>(one.squares.data())};
    LAMINA_CHECK_OK(writer.add_tensor(one.tensor + std::string(kSquares), view));
  }
  for (const PartStats& part : statistics.parts) {
    head["parts"].push_back({{"layer", part.layer},
                             {"role", part.role},
                             {"rows", part.rows},
                             {"cosine", part.cosine},
                             {"contribution", part.contribution},
                             {"length_before", part.length_before},
                             {"length_after", part.length_after}});
  }
  writer.set_metadata(kKey, head.dump());
  return writer.write(path);
}

namespace {

Result<Statistics> read_head(const nlohmann::json& head, const std::string& place) {
  Statistics out;
  try {
    out.model = head.at("model").get<std::string>();
    out.texts = head.at("texts").get<std::string>();
    out.tokens = head.at("tokens").get<int64_t>();
    for (const auto& [tensor, rows] : head.at("rows").items())
      out.matrices.push_back({.tensor = tensor, .inputs = 0, .squares = {}, .rows = rows.get<std::vector<int64_t>>()});
    for (const nlohmann::json& part : head.value("parts", nlohmann::json::array())) {
      out.parts.push_back({.layer = part.at("layer").get<int>(),
                           .role = part.at("role").get<std::string>(),
                           .rows = part.at("rows").get<int64_t>(),
                           .cosine = part.at("cosine").get<double>(),
                           .contribution = part.at("contribution").get<double>(),
                           .length_before = part.at("length_before").get<double>(),
                           .length_after = part.at("length_after").get<double>()});
    }
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, place, "{}: {}", kKey, error.what());
  }
  return out;
}

}  // namespace

Result<Statistics> load(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") return read_imatrix(path);
  LAMINA_ASSIGN(const format::Safetensors file, format::Safetensors::open(path));
  const auto entry = file.metadata().find(std::string(kKey));
  if (entry == file.metadata().end())
    return fail(ErrorCode::kCorrupt, path.string(), "no entry {} in its metadata; a file of `lamina stats` expected",
                kKey);
  LAMINA_ASSIGN(const nlohmann::json head, format::parse_json(entry->second, path.string()));
  LAMINA_ASSIGN(Statistics out, read_head(head, path.string()));
  for (MatrixStats& one : out.matrices) {
    const core::TensorView* squares = file.find_tensor(one.tensor + std::string(kSquares));
    if (squares == nullptr || squares->rank != 2 || squares->format != &float64() ||
        squares->shape[0] != one.matrices()) {
      return fail(ErrorCode::kCorrupt, path.string(), "{}{} is missing or not f64 [{}, inputs]", one.tensor, kSquares,
                  one.matrices());
    }
    one.inputs = squares->shape[1];
    one.squares.resize(static_cast<size_t>(squares->elements()));
    std::memcpy(one.squares.data(), squares->data, static_cast<size_t>(squares->bytes()));
    const bool fine = std::ranges::all_of(one.squares, [](double square) { return square >= 0; });
    if (!fine)
      return fail(ErrorCode::kCorrupt, path.string(), "{}{} has numbers below 0 or none", one.tensor, kSquares);
  }
  return out;
}

}  // namespace lamina::stats

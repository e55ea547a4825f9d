#include "stats/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "core/checksum.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "stats/imatrix.h"
#include "stats/sums_io.h"

namespace lamina::stats {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr std::string_view kKey = "lamina.statistics";
constexpr std::string_view kSquares = ".squares";
constexpr std::string_view kGram = "gram.";
constexpr int64_t kMostInputs = int64_t{1} << 24;  ///< of a Gram matrix in a file
constexpr int64_t kSampled = 256;                  ///< bytes of each tensor that the fingerprint reads

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

const Gram* Statistics::gram(const MatrixStats& stats, int64_t matrix) const {
  const auto index = static_cast<size_t>(matrix);
  if (index >= stats.grams.size() || stats.grams[index] < 0) return nullptr;
  return &grams[static_cast<size_t>(stats.grams[index])];
}

namespace {

/// What `other` has of each matrix of `own`; empty where they have not the same. A file does not keep their order.
std::vector<const MatrixStats*> matched(const Statistics& own, const Statistics& other) {
  std::vector<const MatrixStats*> out;
  for (const MatrixStats& one : own.matrices) {
    const MatrixStats* found = other.find(one.tensor);
    if (found == nullptr || found->inputs != one.inputs || found->rows.size() != one.rows.size()) return {};
    out.push_back(found);
  }
  return own.matrices.size() == other.matrices.size() ? out : std::vector<const MatrixStats*>();
}

/// Adds the Gram matrices of `other`, whose matrices are the same. Experts may have been seen by one of them only.
Status merge_grams(Statistics& own, const Statistics& other, std::span<const MatrixStats* const> others) {
  if (own.grams.empty() != other.grams.empty()) {
    return fail(ErrorCode::kInvalid, "statistics", "one of two parts has Gram matrices; both or none expected");
  }
  std::vector<int> place(other.grams.size(), -1);
  for (size_t m = 0; m < own.matrices.size(); ++m) {
    std::vector<int>& mine = own.matrices[m].grams;
    const std::vector<int>& theirs = others[m]->grams;
    if (mine.empty()) mine.resize(theirs.size(), -1);
    for (size_t i = 0; i < theirs.size(); ++i) {
      if (theirs[i] < 0) continue;
      int& at = place[static_cast<size_t>(theirs[i])];
      const bool fits = at < 0 || mine[i] < 0 || mine[i] == at;
      if (!fits) {
        return fail(ErrorCode::kInvalid, "statistics", "tensor {} shares its inputs with other matrices in each part",
                    own.matrices[m].tensor);
      }
      if (at < 0) at = mine[i];
      if (at < 0) {
        at = static_cast<int>(own.grams.size());
        own.grams.emplace_back(other.grams[static_cast<size_t>(theirs[i])].inputs());
      }
      mine[i] = at;
    }
  }
  for (size_t i = 0; i < other.grams.size(); ++i) {
    if (place[i] < 0) continue;
    Gram& sum = own.grams[static_cast<size_t>(place[i])];
    const std::span<double> sums = sum.change();
    const std::span<const double> more = other.grams[i].sums();
    for (size_t n = 0; n < sums.size(); ++n) sums[n] += more[n];
    sum.add_rows(other.grams[i].rows());
  }
  return {};
}

}  // namespace

Status Statistics::merge(const Statistics& other) {
  if (other.model != model)
    return fail(ErrorCode::kInvalid, "statistics", "of model {}; {} expected", other.model, model);
  const std::vector<const MatrixStats*> others = matched(*this, other);
  const auto same_part = [](const PartStats& a, const PartStats& b) { return a.layer == b.layer && a.role == b.role; };
  if (others.size() != matrices.size() || !std::ranges::equal(parts, other.parts, same_part))
    return fail(ErrorCode::kInvalid, "statistics", "of other matrices or parts, so made by another recipe");
  LAMINA_CHECK_OK(merge_sums(other, *this));
  LAMINA_CHECK_OK(merge_grams(*this, other, others));
  for (size_t m = 0; m < matrices.size(); ++m) {
    for (size_t i = 0; i < matrices[m].squares.size(); ++i) matrices[m].squares[i] += others[m]->squares[i];
    for (size_t i = 0; i < matrices[m].rows.size(); ++i) matrices[m].rows[i] += others[m]->rows[i];
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].rows += other.parts[i].rows;
    parts[i].cosine += other.parts[i].cosine;
    parts[i].contribution += other.parts[i].contribution;
    parts[i].length_before += other.parts[i].length_before;
    parts[i].length_after += other.parts[i].length_after;
    parts[i].sensitivity += other.parts[i].sensitivity;
    parts[i].disturbed_rows += other.parts[i].disturbed_rows;
    const bool counted = parts[i].voids >= 0 && other.parts[i].voids >= 0;
    parts[i].voids = counted ? parts[i].voids + other.parts[i].voids : -1;
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
  for (size_t i = 0; i < statistics.grams.size(); ++i) {
    const Gram& gram = statistics.grams[i];
    head["grams"].push_back({{"inputs", gram.inputs()}, {"rows", gram.rows()}});
    const core::TensorView view{.format = &float64(),
                                .rank = 1,
                                .shape = {triangle_size(gram.inputs()), 1, 1, 1},
                                .data = reinterpret_cast<const std::byte*>(gram.sums().data())};
    LAMINA_CHECK_OK(writer.add_tensor(fmt::format("{}{}", kGram, i), view));
  }
  for (const MatrixStats& one : statistics.matrices) {
    head["rows"][one.tensor] = one.rows;
    if (!one.grams.empty()) head["gram_of"][one.tensor] = one.grams;
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
                             {"length_after", part.length_after},
                             {"voids", part.voids}});
    if (part.disturbed_rows == 0) continue;
    head["parts"].back()["sensitivity"] = part.sensitivity;
    head["parts"].back()["disturbed_rows"] = part.disturbed_rows;
  }
  LAMINA_CHECK_OK(write_sums(statistics, writer, head));
  writer.set_metadata(kKey, head.dump());
  return writer.write(path);
}

namespace {

/// Inputs and rows of a Gram matrix.
struct GramSize {
  int64_t inputs = 0;
  int64_t rows = 0;
};

Result<Statistics> read_head(const nlohmann::json& head, const std::string& place, std::vector<GramSize>& grams) {
  Statistics out;
  try {
    out.model = head.at("model").get<std::string>();
    out.texts = head.at("texts").get<std::string>();
    out.tokens = head.at("tokens").get<int64_t>();
    for (const auto& [tensor, rows] : head.at("rows").items())
      out.matrices.push_back({.tensor = tensor, .inputs = 0, .squares = {}, .rows = rows.get<std::vector<int64_t>>()});
    const nlohmann::json gram_of = head.value("gram_of", nlohmann::json::object());
    for (MatrixStats& one : out.matrices) {
      if (gram_of.contains(one.tensor)) one.grams = gram_of[one.tensor].get<std::vector<int>>();
    }
    for (const nlohmann::json& gram : head.value("grams", nlohmann::json::array()))
      grams.push_back({.inputs = gram.at("inputs").get<int64_t>(), .rows = gram.at("rows").get<int64_t>()});
    for (const nlohmann::json& part : head.value("parts", nlohmann::json::array())) {
      out.parts.push_back({.layer = part.at("layer").get<int>(),
                           .role = part.at("role").get<std::string>(),
                           .rows = part.at("rows").get<int64_t>(),
                           .cosine = part.at("cosine").get<double>(),
                           .contribution = part.at("contribution").get<double>(),
                           .length_before = part.at("length_before").get<double>(),
                           .length_after = part.at("length_after").get<double>(),
                           .sensitivity = part.value("sensitivity", 0.0),
                           .disturbed_rows = part.value("disturbed_rows", int64_t{0}),
                           .voids = part.value("voids", int64_t{-1})});
    }
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, place, "{}: {}", kKey, error.what());
  }
  return out;
}

/// The Gram matrices, which stay in the file.
Status read_grams(std::span<const GramSize> sizes, const std::shared_ptr<const format::Safetensors>& file,
                  const std::string& place, Statistics& out) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    const std::string name = fmt::format("{}{}", kGram, i);
    const core::TensorView* sums = file->find_tensor(name);
    const auto [inputs, rows] = sizes[i];
    const bool fits = sums != nullptr && inputs > 0 && inputs <= kMostInputs && rows >= 0 &&
                      sums->format == &float64() && sums->elements() == triangle_size(inputs);
    if (!fits) {
      return fail(ErrorCode::kCorrupt, place, "{} is missing or not one f64 triangle of {} inputs over {} rows", name,
                  inputs, rows);
    }
    const Gram& gram = out.grams.emplace_back(inputs, rows, file, *sums);
    for (int64_t n = 0; n < inputs; ++n) {
      const double square = gram.at(n, n);
      if (square >= 0 && std::isfinite(square)) continue;
      return fail(ErrorCode::kCorrupt, place,
                  "{}: the sum of squares of input {} is {}; a finite one from 0 on expected", name, n, square);
    }
  }
  for (const MatrixStats& one : out.matrices) {
    if (!one.grams.empty() && one.grams.size() != one.rows.size())
      return fail(ErrorCode::kCorrupt, place, "{} has {} Gram matrices; {} expected", one.tensor, one.grams.size(),
                  one.rows.size());
    for (const int index : one.grams) {
      const bool known = index >= -1 && index < std::ssize(out.grams);
      if (known && (index < 0 || out.grams[static_cast<size_t>(index)].inputs() == one.inputs)) continue;
      return fail(ErrorCode::kCorrupt, place, "{} has Gram matrix {}, which is not one of {} inputs", one.tensor, index,
                  one.inputs);
    }
  }
  return {};
}

}  // namespace

Result<Statistics> load(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") return read_imatrix(path);
  LAMINA_ASSIGN(format::Safetensors opened, format::Safetensors::open(path));
  const auto shared = std::make_shared<const format::Safetensors>(std::move(opened));
  const format::Safetensors& file = *shared;
  const auto entry = file.metadata().find(std::string(kKey));
  if (entry == file.metadata().end())
    return fail(ErrorCode::kCorrupt, path.string(), "no entry {} in its metadata; a file of `lamina stats` expected",
                kKey);
  LAMINA_ASSIGN(const nlohmann::json head, format::parse_json(entry->second, path.string()));
  std::vector<GramSize> sizes;
  LAMINA_ASSIGN(Statistics out, read_head(head, path.string(), sizes));
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
  LAMINA_CHECK_OK(read_grams(sizes, shared, path.string(), out));
  LAMINA_CHECK_OK(read_sums(head, file, path.string(), out));
  return out;
}

}  // namespace lamina::stats

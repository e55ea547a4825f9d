#include "compress/thin.h"

#include <algorithm>

#include "models/resolver.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Status;
using nlohmann::json;

namespace {

const std::string& file_name(const ModelEdit& edit, const Piece& piece) {
  return edit.model().weights().file_name(piece.from.tensor);
}

/// Gives a tensor another shape; what lies inputs first stays so.
Status replace(ModelEdit& edit, const Piece& piece, const Matrix& matrix) {
  const std::string name = file_name(edit, piece);
  if (piece.inputs == 0) return edit.add(name, {matrix.outputs}, matrix.numbers);
  const codec::Codec* codec = edit.codec_of(piece);
  if (!piece.from.rows.input_first && !piece.to.rows.input_first)
    return edit.add(name, {matrix.outputs, matrix.inputs}, matrix.numbers, codec);
  std::vector<float> turned(matrix.numbers.size());
  for (int64_t o = 0; o < matrix.outputs; ++o) {
    for (int64_t i = 0; i < matrix.inputs; ++i) turned[static_cast<size_t>(i * matrix.outputs + o)] = matrix.row(o)[i];
  }
  return edit.add(name, {matrix.inputs, matrix.outputs}, turned, codec);
}

}  // namespace

Status keep_rows(ModelEdit& edit, const Piece& piece, std::span<const size_t> kept) {
  LAMINA_ASSIGN(const Matrix before, edit.read(piece));
  Matrix after{.outputs = std::ssize(kept), .inputs = before.inputs};
  for (const size_t row : kept) {
    const float* from = before.row(static_cast<int64_t>(row));
    after.numbers.insert(after.numbers.end(), from, from + before.inputs);
  }
  std::optional<stats::MatrixStats> known;
  stats::Statistics* statistics = edit.statistics();
  const stats::MatrixStats* found = statistics == nullptr ? nullptr : statistics->find(file_name(edit, piece));
  if (found != nullptr && piece.matrix) known = *found;
  LAMINA_CHECK_OK(replace(edit, piece, after));
  if (known && statistics->find(known->tensor) == nullptr) statistics->matrices.push_back(std::move(*known));
  return {};
}

const stats::Gram* gram_of(const ModelEdit& edit, const Piece& piece) {
  if (edit.statistics() == nullptr) return nullptr;
  const stats::MatrixStats* found = edit.statistics()->find(file_name(edit, piece));
  return found == nullptr ? nullptr : edit.statistics()->gram(*found, piece.from.index);
}

Status keep_columns(ModelEdit& edit, const Piece& piece, const Matrix& matrix, std::span<const size_t> kept) {
  stats::Statistics& statistics = *edit.statistics();
  const std::string name = file_name(edit, piece);
  const stats::MatrixStats& found = *statistics.find(name);
  stats::MatrixStats inputs{.tensor = name, .inputs = std::ssize(kept), .squares = {}, .rows = found.rows};
  for (const size_t column : kept) inputs.squares.push_back(found.squares[column]);
  if (const stats::Gram* gram = gram_of(edit, piece)) {
    stats::Gram own(inputs.inputs);
    const std::span<double> sums = own.change();
    size_t at = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      for (size_t j = 0; j <= i; ++j)
        sums[at++] = gram->at(static_cast<int64_t>(kept[i]), static_cast<int64_t>(kept[j]));
    }
    own.add_rows(gram->rows());
    inputs.grams = {static_cast<int>(statistics.grams.size())};
    statistics.grams.push_back(std::move(own));
  }
  LAMINA_CHECK_OK(replace(edit, piece, matrix));
  statistics.matrices.push_back(std::move(inputs));
  return {};
}

std::string setting_key(const ModelEdit& edit, std::string_view setting) {
  const format::Container container = edit.model().files().container();
  const json settings = edit.architecture().data.at("settings");
  const json definition = settings.value(std::string(setting), json());
  const json keys = definition.is_object() ? definition.value(models::container_name(container), json()) : json();
  std::string first;
  for (const json& key : keys.is_array() ? keys : json::array({keys})) {
    if (!key.is_string()) continue;
    auto name = key.get<std::string>();
    models::replace_all(name, "{arch}", edit.config().value("general.architecture", ""));
    if (!models::config_value(edit.config(), container, name).is_null()) return name;
    if (first.empty()) first = name;
  }
  return first;
}

}  // namespace lamina::compress

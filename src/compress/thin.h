#pragma once

#include <span>
#include <string>
#include <string_view>

#include "compress/edit.h"

namespace lamina::compress {

/// Keeps the rows `kept` of a matrix or vector that is a tensor of its own, in that order; the statistics of what it
/// reads stay.
core::Status keep_rows(ModelEdit& edit, const Piece& piece, std::span<const size_t> kept);
/// Makes `matrix` the piece's, whose columns are those of the inputs `kept` alone; the statistics, which must know the
/// piece, become those of these inputs.
core::Status keep_columns(ModelEdit& edit, const Piece& piece, const Matrix& matrix, std::span<const size_t> kept);

/// The Gram matrix of what the piece reads, or null.
const stats::Gram* gram_of(const ModelEdit& edit, const Piece& piece);

/// The key under which the model's container has a setting of the family: the first that its configuration has, or
/// else the first; empty where the family has none.
std::string setting_key(const ModelEdit& edit, std::string_view setting);

}  // namespace lamina::compress

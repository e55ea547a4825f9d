#pragma once

#include <span>
#include <vector>

#include "compress/edit.h"
#include "compress/rotation.h"

namespace lamina::compress {

/// How what matrices read changes: each number is divided by its divisor, then every run of rotation->size() numbers
/// is rotated. Weights are changed so that products stay what they are.
struct InputMap {
  std::vector<double> divisors{};      ///< one for each input; empty: all 1. Where one is 0, the input was always 0
  const Rotation* rotation = nullptr;  ///< null: none

  double divisor(int64_t i) const { return divisors.empty() ? 1 : divisors[static_cast<size_t>(i)]; }
};

/// Changes the columns of matrices (of a vector, its numbers) that read such inputs, and the statistics of what they
/// read: Gram matrices exactly, squares without them as if inputs did not hang together. The readers must be all that
/// read these inputs.
core::Status map_inputs(ModelEdit& edit, std::span<const Piece* const> readers, const InputMap& map);

/// Rotates every run of rotation.size() outputs of a matrix, or numbers of a vector.
core::Status rotate_outputs(ModelEdit& edit, const Piece& piece, const Rotation& rotation);

/// Rotates every row after its numbers were multiplied by `factors`; empty: all 1.
void rotate_rows(Matrix& matrix, std::span<const double> factors, const Rotation& rotation, core::ThreadPool& pool);

}  // namespace lamina::compress

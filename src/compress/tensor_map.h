#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "layers/linear.h"
#include "models/architecture.h"
#include "models/model.h"

namespace lamina::compress {

/// How a container stores the rows of a matrix, or the numbers of a vector.
struct Stored {
  std::string tensor{};
  layers::RowPick rows{};    ///< of the tensor's rows, those that are meant
  double offset = 0;         ///< added to what is stored (a norm's weight minus one)
  bool interleaved = false;  ///< the rotary pairs lie side by side, not half a head apart
};

/// A matrix, table or vector of the model and where the two containers keep it.
struct Piece {
  int layer = -1;      ///< -1: embedding or head
  std::string role{};  ///< "attn", "mlp", "embedding", "head"
  std::string key{};   ///< of the record: "q", "norm", "experts"
  bool matrix = false;
  int64_t outputs = 0;
  int64_t inputs = 0;     ///< 0: a vector
  int64_t head_size = 0;  ///< of rows that rotary positions turn
  int64_t rotary = 0;
  int64_t experts = 0;   ///< of a stack of matrices, side by side in one tensor of the target
  bool one_row = false;  ///< a vector that the target stores as a matrix of one row
  Stored from{};
  Stored to{};
  std::vector<float> literal{};  ///< the numbers themselves where the source keeps them in its configuration

  /// The stored row of output `o` there.
  int64_t row(const Stored& stored, int64_t o) const;
};

/// Lists every tensor that the layers of `model` use, and where `target`, the same model's records in another (or the
/// same) container, keeps it. kUnsupported names a tensor that has no place there.
core::Result<std::vector<Piece>> map_tensors(const models::Model& model, const models::ResolvedModel& own,
                                             const models::ResolvedModel& target, format::Container container);

}  // namespace lamina::compress

#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/result.h"
#include "layers/linear.h"
#include "models/architecture.h"
#include "models/model.h"
#include "models/translate.h"

namespace lamina::compress {

/// How a container stores the rows of a matrix, or the numbers of a vector.
struct Stored {
  std::string tensor{};
  std::string scales{};      ///< MXFP4 in two tensors: that of the exponents
  layers::RowPick rows{};    ///< of the tensor's rows (of one matrix of a stack), those that are meant
  int64_t index = 0;         ///< which matrix of a stack
  int64_t count = 0;         ///< how many matrices the tensor stacks; 0: it is one
  double offset = 0;         ///< added to what is stored (a norm's weight minus one)
  bool interleaved = false;  ///< the rotary pairs lie side by side, not half a head apart
  bool logarithm = false;    ///< the logarithm of minus what is meant

  /// The row of the whole tensor that row `row` of the matrix is.
  int64_t in_stack(int64_t row) const { return (count > 0 ? index * rows.of : 0) + row; }
  int64_t all_rows() const { return (count > 0 ? count : 1) * rows.of; }
};

/// A matrix, table or vector of the model and where the two containers keep it.
struct Piece {
  int layer = -1;      ///< -1: embedding or head
  std::string role{};  ///< "attn", "mlp", "embedding", "head"
  std::string key{};   ///< of the record: "q", "norm", "experts"
  bool matrix = false;
  bool factor_in = false;  ///< the first of two factors that stand for a matrix
  bool small = false;      ///< float32 in GGUF whatever its shape, as its readers expect
  int64_t outputs = 0;
  int64_t inputs = 0;     ///< 0: a vector
  int64_t head_size = 0;  ///< of rows that rotary positions turn
  int64_t rotary = 0;
  int64_t turn_begin = 0;  ///< of a head, where the rotary part begins
  Stored from{};
  Stored to{};
  std::vector<int64_t> shape{};  ///< in the target; empty: as its rows and inputs say
  std::vector<float> literal{};  ///< the numbers themselves where the source does not keep them in a tensor

  /// The stored row of output `o` there.
  int64_t row(const Stored& stored, int64_t o) const;
};

/// Which of the family's heads the file has: the first whose "present" tensor is there, as when the model was built.
std::optional<size_t> head_index(const models::Model& model, const models::ResolvedModel& own);

/// Lists every tensor that the layers of `model` use, and where it stays in the same container.
core::Result<std::vector<Piece>> map_tensors(const models::Model& model, const models::Architecture& architecture);

/// The same with where another container keeps them. kUnsupported names a tensor that has no place there.
core::Result<std::vector<Piece>> map_tensors(const models::Model& model, const models::Architecture& architecture,
                                             const models::Translation& target, format::Container container);

}  // namespace lamina::compress

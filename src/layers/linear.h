#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "core/memory.h"
#include "core/result.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/linear.h"
#include "layers/step.h"

namespace lamina::layers {

/// Which rows of a stored tensor make up a matrix: groups of neighbouring rows at equal distances. Several matrices may
/// share one tensor (queries, keys and values; gate and up), part by part or head by head.
struct RowPick {
  int64_t begin = 0;         ///< first row
  int64_t of = 0;            ///< rows of the tensor
  int64_t group = 0;         ///< rows taken together
  int64_t stride = 0;        ///< rows from one group to the next
  bool input_first = false;  ///< the tensor is stored [inputs, of]
  int64_t input_begin = 0;   ///< with input_first: the tensor's row of input 0
  int64_t inputs = 0;        ///< with input_first: how many of its rows are inputs; 0: all

  auto operator<=>(const RowPick&) const = default;
  /// All rows of a tensor that is the matrix itself.
  static RowPick all(int64_t rows) { return {.begin = 0, .of = rows, .group = rows, .stride = rows}; }
  int64_t row(int64_t output) const { return begin + output / group * stride + output % group; }
};

/// Where the numbers of a matrix lie in the file.
struct MatrixSource {
  core::TensorView tensor;  ///< [rows, columns]
  /// MXFP4 in two tensors: `tensor` has the pairs of numbers as bytes, these are the exponents, one for 32 numbers.
  const std::byte* scales = nullptr;
};

/// Told which part of a file's tensor has been read and is no longer needed in memory.
using Release = std::function<void(const core::TensorView& piece)>;

/// How a matrix is kept in memory.
struct LinearOptions {
  bool exact = false;                   ///< activations stay float32
  const codec::Codec* codec = nullptr;  ///< the weights' format, made when they are packed; null: the file's own
  double share = 1;                     ///< of a row's inputs, how many take part: the largest; 1: all
};

/// Names of the two matrices that may stand for one, or be added to it, after its name: y = out (in x), `in` [rank,
/// inputs], `out` [outputs, rank].
inline constexpr std::string_view kFactorIn = ".factor_in";
inline constexpr std::string_view kFactorOut = ".factor_out";

/// A weight matrix [outputs, inputs] in the form that its kernel reads, and its bias. It may be the second of two
/// factors, whose inputs are then those of the first, and have a whole matrix beside them, to whose product theirs is
/// added.
class Linear {
 public:
  /// Plans the packed form of `outputs` rows of `source`, the tensor as it lies in the file. Numbers that come in
  /// blocks cannot be turned as they are: they become f16, or f32 when exact. kUnsupported: the same with a codec of
  /// its own.
  static core::Result<Linear> plan(std::string name, const MatrixSource& source, const RowPick& rows, int64_t outputs,
                                   const LinearOptions& options);

  const std::string& name() const { return name_; }
  const RowPick& rows() const { return rows_; }
  int64_t outputs() const { return layout_.outputs; }
  int64_t inputs() const { return first_ ? first_->layout_.inputs : layout_.inputs; }
  /// What its own matrix reads: the outputs of first(), if there is one.
  int64_t columns() const { return layout_.inputs; }
  const Linear* first() const { return first_.get(); }
  /// A matrix whose product comes before that of the factors; null for most.
  const Linear* beside() const { return beside_.get(); }
  const kernels::WeightLayout& layout() const { return layout_; }
  const core::TensorView& source() const { return source_.tensor; }
  /// The rows of the source that the matrix is made of, and those between them.
  core::TensorView source_part() const;
  const std::byte* packed() const { return data_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  /// Bytes of its own packed matrix.
  int64_t bytes() const { return layout_.panels * layout_.panel_bytes; }
  /// Whether its products are products of integers: as the costs of steps count them.
  bool multiplies_integers() const {
    return layout_.activation == kernels::InputForm::kInt8Block || layout_.activation == kernels::InputForm::kInt8Super;
  }

  /// Multiplications of a row with its own matrix, and the bytes of it that they read.
  int64_t multiplications() const { return outputs() * (layout_.kept > 0 ? layout_.kept : columns()); }
  int64_t row_bytes() const { return layout_.by_input ? bytes() * layout_.kept / columns() : bytes(); }

  /// Bytes and numbers of all the matrices that it is made of.
  int64_t all_bytes() const { return bytes() + (first_ ? first_->bytes() : 0) + (beside_ ? beside_->bytes() : 0); }
  int64_t parameters() const {
    return outputs() * columns() + (first_ ? first_->parameters() : 0) + (beside_ ? beside_->parameters() : 0);
  }

  /// Makes it the second of two factors; `beside` may be null.
  void set_first(std::shared_ptr<const Linear> first, std::shared_ptr<const Linear> beside) {
    first_ = std::move(first);
    beside_ = std::move(beside);
  }
  void set_bias(std::vector<float> bias) { bias_ = std::move(bias); }
  /// Fills `memory`, bytes() zeros aligned to core::kAlignment, from the source, on all threads, piece by piece, and
  /// uses it; `release` is told what was read. The memory must outlive the matrix.
  core::Status pack(core::ThreadPool& pool, const Release& release, std::byte* memory);
  /// Uses bytes() bytes that pack() made once, likewise.
  void adopt(const std::byte* packed) { data_ = packed; }
  /// Whether pack() gives the numbers another format than the file's.
  bool encodes() const { return codec_ != nullptr; }
  /// What pack() reads and makes, in words: the tensor and its rows, both number formats, the shape.
  std::string packed_key() const;

 private:
  void pack_stored(core::ThreadPool& pool, const Release& release, std::byte* memory);
  core::Status pack_encoded(core::ThreadPool& pool, const Release& release, std::byte* memory);
  void read_row(int64_t output, float* out) const;
  void gather(int64_t begin, int64_t end, std::byte* out) const;
  void turn(int64_t begin, int64_t end, std::byte* out) const;
  void gather_row(int64_t row, std::byte* out) const;

  std::string name_;
  MatrixSource source_;
  const core::NumberFormat* format_ = nullptr;  ///< of the rows that gather() makes
  RowPick rows_;
  const codec::Codec* codec_ = nullptr;  ///< null: the source's
  kernels::WeightLayout layout_;
  const std::byte* data_ = nullptr;
  std::vector<float> bias_;
  std::shared_ptr<const Linear> first_;
  std::shared_ptr<const Linear> beside_;
};

/// One product of a group that reads the same input.
struct Product {
  const Linear* linear = nullptr;
  float* y = nullptr;  ///< [rows, outputs], stride y_stride
  int64_t y_stride = 0;
  bool accumulate = false;  ///< y += instead of y =
};

/// What a product of that many rows with the matrix must read and compute.
OpCost product_cost(const Linear& linear, int64_t rows);

/// Bytes of the arena that run_products takes for these matrices and at most `rows` rows.
int64_t product_bytes(std::span<const Linear* const> linears, int64_t rows);
/// Scratch bytes per thread.
int64_t product_scratch_bytes(std::span<const Linear* const> linears, int64_t rows);

/// y = x W^T + b for every product, x [rows, inputs] float32, apart from every y. Quantizes x once per activation
/// format and splits the panels of all products over the threads as one list; products of second factors follow as a
/// list of their own.
void run_products(Step& step, std::span<const Product> products, const float* x, int64_t rows);

}  // namespace lamina::layers

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/memory.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "format/safetensors.h"
#include "layers/input_recorder.h"

namespace lamina::stats {

/// Numbers of one triangle of a symmetric matrix: row i holds columns 0 to i, one row after another.
inline int64_t triangle_size(int64_t inputs) {
  return inputs * (inputs + 1) / 2;
}
/// Where row i of the triangle begins.
inline int64_t triangle_row(int64_t i) {
  return i * (i + 1) / 2;
}

/// The Gram matrix X^T X of the rows that a group of matrices reads: sums of products of two inputs each. It says what
/// an error in the weights does to the outputs: for an error e of one output's weights, e X^T X e^T is the sum of that
/// output's squared errors over the rows.
class Gram {
 public:
  Gram() = default;
  /// All zeros.
  explicit Gram(int64_t inputs) : inputs_(inputs), own_(static_cast<size_t>(triangle_size(inputs))) {}
  /// Borrowed from a tensor of a file, which is kept open: f64 [triangle_size(inputs)].
  Gram(int64_t inputs, int64_t rows, std::shared_ptr<const format::Safetensors> file, const core::TensorView& tensor)
      : inputs_(inputs), rows_(rows), file_(std::move(file)), view_(tensor) {}

  int64_t inputs() const { return inputs_; }
  int64_t rows() const { return rows_; }
  /// The triangle, triangle_size(inputs) numbers.
  std::span<const double> sums() const;
  double at(int64_t i, int64_t j) const {
    return sums()[static_cast<size_t>(i >= j ? triangle_row(i) + j : triangle_row(j) + i)];
  }
  /// The same, to be changed; what lies in a file is copied first.
  std::span<double> change();
  void add_rows(int64_t count) { rows_ += count; }
  /// Tells the system that the file's pages are not needed any more.
  void release() const;

 private:
  int64_t inputs_ = 0;
  int64_t rows_ = 0;
  std::vector<double> own_;
  std::shared_ptr<const format::Safetensors> file_;
  core::TensorView view_;
};

/// Adds rows to Gram matrices. Products of one call are summed in float32, in the order of the rows, then added to the
/// float64 totals; no bit depends on the threads or the instruction set. Memory: three copies of the largest call's
/// rows, and 64 columns of float32 for each thread.
class GramAdder {
 public:
  explicit GramAdder(core::ThreadPool& pool) : pool_(pool) {}
  /// kLimit when the system has no such memory.
  core::Status add(const layers::InputRows& rows, Gram& gram);

 private:
  core::ThreadPool& pool_;
  std::vector<float> turned_;  ///< [inputs, rows]
  core::AlignedBuffer packed_;
  core::AlignedBuffer scratch_;
  std::vector<float> products_;  ///< of each thread, [inputs, 64]
};

}  // namespace lamina::stats

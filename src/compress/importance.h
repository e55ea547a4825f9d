#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "format/model_files.h"
#include "stats/statistics.h"

namespace lamina::compress {

/// What an error in each input of a matrix costs: the mean square of that input over calibration text, or, where it was
/// asked for, the Gram matrix of all inputs.
class Importance {
 public:
  Importance() = default;
  Importance(const stats::Statistics& statistics, const format::ModelFiles& files);

  /// That of the matrix in whose tensor the address lies, one number for each input; null where nothing is known.
  const std::vector<float>* find(const std::byte* address) const;
  /// The Gram matrix of what that matrix reads; null where there is none.
  const stats::Gram* find_gram(const std::byte* address) const;
  bool empty() const { return tensors_.empty(); }
  bool has_grams() const { return !grams_.empty(); }

 private:
  struct Tensor {
    const std::byte* begin = nullptr;
    int64_t matrix_bytes = 0;
    std::vector<std::vector<float>> matrices;
    std::vector<int> grams;  ///< of each matrix, as stats::MatrixStats has them
  };
  /// The tensor in which the address lies, and which of its matrices; null where nothing is known.
  const Tensor* tensor_of(const std::byte* address, size_t& matrix) const;
  std::map<const std::byte*, Tensor> tensors_;  ///< by their ends
  std::vector<stats::Gram> grams_;
};

}  // namespace lamina::compress

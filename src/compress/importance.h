#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "format/model_files.h"
#include "stats/statistics.h"

namespace lamina::compress {

/// What an error in each input of a matrix costs: the mean square of that input over calibration text.
class Importance {
 public:
  Importance() = default;
  Importance(const stats::Statistics& statistics, const format::ModelFiles& files);

  /// That of the matrix in whose tensor the address lies, one number for each input; null where nothing is known.
  const std::vector<float>* find(const std::byte* address) const;
  bool empty() const { return tensors_.empty(); }

 private:
  struct Tensor {
    const std::byte* begin = nullptr;
    int64_t matrix_bytes = 0;
    std::vector<std::vector<float>> matrices;
  };
  std::map<const std::byte*, Tensor> tensors_;  ///< by their ends
};

}  // namespace lamina::compress

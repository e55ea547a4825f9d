#pragma once

#include <cstdint>
#include <filesystem>

#include "compress/output_tensor.h"
#include "core/result.h"
#include "format/tensor_source.h"

namespace lamina::compress {

/// Tensors of a model that is being written, kept in a folder so that a run that was broken off can go on from them.
/// Each is a file of its bytes and its report, complete or not there at all.
class FinishedTensors {
 public:
  /// `plan`: a checksum of all that the tensors depend on. kInvalid: the folder keeps tensors of another plan, or is
  /// something else; kIo: it cannot be made or read.
  static core::Result<FinishedTensors> open(const std::filesystem::path& folder, uint64_t plan);

  /// Gives the bytes of the tensor of that index, as they were kept, or as `make` gives them, which are then kept.
  /// `report` is what `make` sets, or what it set then.
  core::Status give(size_t index, const OutputTensor& tensor, const format::TensorSource& make,
                    const format::PutBytes& put, TensorReport& report) const;
  /// Forgets them all.
  core::Status remove() const;

 private:
  explicit FinishedTensors(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path path_of(size_t index) const;

  std::filesystem::path folder_;
};

}  // namespace lamina::compress

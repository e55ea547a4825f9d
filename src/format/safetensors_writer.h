#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "format/tensor_source.h"

namespace lamina::format {

/// Writes one safetensors file. Wide numbers come first, so that every tensor is aligned to its number size.
class SafetensorsWriter {
 public:
  /// Sets an entry of `__metadata__`.
  void set_metadata(std::string_view key, std::string_view value);
  /// Adds a tensor whose memory must live until write(). kInvalid on a bad or repeated name or shape, kUnsupported when
  /// safetensors has no dtype for the format.
  core::Status add_tensor(std::string_view name, const core::TensorView& tensor);
  /// Adds a tensor of `shape` (format, rank and shape are used) whose bytes `source` gives when the file is written.
  core::Status add_tensor(std::string_view name, const core::TensorView& shape, TensorSource source);

  /// Writes the file under a temporary name and renames it when it is complete.
  core::Status write(const std::filesystem::path& path) const;

 private:
  std::map<std::string, std::string> metadata_;
  std::vector<PendingTensor> tensors_;
  std::unordered_set<std::string> names_;
};

}  // namespace lamina::format

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

/// Writes safetensors files. Wide numbers come first, so that every tensor is aligned to its number size. Formats that
/// safetensors has no dtype for (numbers in blocks) are written as U8, their codecs and shapes in the file's metadata
/// (kBlocksKey), which only this reader understands.
class SafetensorsWriter {
 public:
  /// Sets an entry of `__metadata__`.
  void set_metadata(std::string_view key, std::string_view value);
  /// Adds a tensor whose memory must live until write(). kInvalid on a bad or repeated name or shape, kUnsupported when
  /// the format is neither a dtype nor a codec.
  core::Status add_tensor(std::string_view name, const core::TensorView& tensor);
  /// Adds a tensor of `shape` (format, rank and shape are used) whose bytes `source` gives when the file is written.
  core::Status add_tensor(std::string_view name, const core::TensorView& shape, TensorSource source);

  /// Writes the file under a temporary name and renames it when it is complete.
  core::Status write(const std::filesystem::path& path) const;
  /// Writes model.safetensors into `folder`, or, where the tensors take more than `max_bytes` (0: no limit), several
  /// model-00001-of-0000N.safetensors and model.safetensors.index.json.
  core::Status write_folder(const std::filesystem::path& folder, int64_t max_bytes) const;

 private:
  core::Status write_file(const std::filesystem::path& path, std::span<const PendingTensor> tensors) const;
  std::map<std::string, std::string> metadata_;
  std::vector<PendingTensor> tensors_;
  std::unordered_set<std::string> names_;
};

}  // namespace lamina::format

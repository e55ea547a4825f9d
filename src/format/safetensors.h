#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/memory.h"
#include "core/result.h"
#include "core/tensor.h"
#include "format/named_tensor.h"

namespace lamina::format {

/// One safetensors file, or all shards of an index, mapped into memory. Opening reads the headers only and checks all
/// of them: shapes, ranges, holes, overlaps, names. Everything handed out borrows from this object and stays valid when
/// it is moved.
class Safetensors {
 public:
  /// `path` is a .safetensors file, or a .safetensors.index.json whose shards lie beside it.
  /// kCorrupt, kUnsupported (an unknown dtype, more than core::kMaxRank dimensions), kNotFound, kIo.
  static core::Result<Safetensors> open(const std::filesystem::path& path);
  /// One file from memory, which must outlive the object. `place` names it in messages.
  static core::Result<Safetensors> from_bytes(std::span<const std::byte> bytes, std::string_view place = "safetensors");

  /// All tensors in file order, shards in the order of their names.
  std::span<const NamedTensor> tensors() const { return tensors_; }
  /// The tensor of that name, or null.
  const core::TensorView* find_tensor(std::string_view name) const;
  /// The text-to-text map `__metadata__` of the (first) file.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// The mapped files, in order.
  std::span<const core::MappedFile> files() const { return files_; }
  /// Bytes of all files together.
  int64_t file_bytes() const { return bytes_; }
  /// Tells the system that the tensor's pages are no longer needed in memory.
  void release(const core::TensorView& tensor) const;

 private:
  core::Status add_file(std::span<const std::byte> bytes, const std::string& place);
  core::Status add_mapped(const std::filesystem::path& path);
  core::Status open_index(const std::filesystem::path& index);
  core::Status align(core::TensorView& view, const std::string& place);

  std::vector<core::MappedFile> files_;
  std::vector<core::AlignedBuffer> copies_;  ///< tensors that their file does not align to their number size
  std::deque<std::string> owned_names_;
  std::vector<NamedTensor> tensors_;
  std::unordered_map<std::string_view, size_t> names_;
  std::map<std::string, std::string> metadata_;
  int64_t bytes_ = 0;
};

}  // namespace lamina::format

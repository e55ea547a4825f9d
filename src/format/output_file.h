#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::format {

/// A file that appears under its name only when it is complete: written without a name (or, where the file system has
/// no such files, under a temporary one), named by commit(). Without commit nothing is left.
class OutputFile {
 public:
  /// kIo when the folder cannot be written or `path` is something other than a regular file.
  static core::Result<OutputFile> create(const std::filesystem::path& path);
  OutputFile(OutputFile&& other) noexcept { swap(other); }
  OutputFile& operator=(OutputFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~OutputFile();

  core::Status write(std::span<const std::byte> bytes);
  core::Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  /// Appends zero bytes until position() is a multiple of `alignment`.
  core::Status pad(uint64_t alignment);
  /// Replaces bytes that were written before.
  core::Status overwrite(uint64_t position, std::span<const std::byte> bytes);
  /// Bytes written so far.
  uint64_t position() const { return position_; }
  /// Flushes to the disk and gives the file its name, replacing what had it.
  core::Status commit();

 private:
  OutputFile() = default;
  void swap(OutputFile& other) noexcept;
  core::Status flush();
  core::Status write_all(std::span<const std::byte> bytes);
  std::unexpected<core::Error> io_error(std::string_view what) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  bool unnamed_ = false;  ///< has no name yet, not even the temporary one
  uint64_t position_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace lamina::format

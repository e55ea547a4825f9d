#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "format/output_file.h"

namespace lamina::format {

/// Bytes of a packed file, and what they are.
struct PackedPiece {
  std::string_view key;
  std::span<const std::byte> bytes;
  uint64_t checksum = 0;
};

/// Weights as they lie in memory, saved to be mapped again: pieces of bytes with a key each, and the stamp of what they
/// were made from. Only the machine that wrote one reads it; who opens it compares stamp and keys.
/// Layout: 64 bytes of header, the pieces on multiples of 64, a table. Header and table have checksums that are checked
/// when the file is opened; those of the pieces are by verify().
class PackedFile {
 public:
  /// kNotFound: no such file; kCorrupt: not one of these, of another version, cut off, or changed in header or table.
  static core::Result<PackedFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::string_view stamp() const { return stamp_; }
  /// Checksum of all that the pieces were made from.
  uint64_t source_checksum() const { return source_checksum_; }
  /// In the order in which they were added.
  std::span<const PackedPiece> pieces() const { return pieces_; }
  int64_t file_bytes() const { return static_cast<int64_t>(file_.bytes().size()); }
  /// Reads every piece and compares its checksum: kCorrupt names the first that differs.
  core::Status verify(core::ThreadPool& pool) const;

 private:
  PackedFile() = default;
  core::Status read_table(std::span<const std::byte> table, uint64_t begin);

  std::filesystem::path path_;
  core::MappedFile file_;
  std::string_view stamp_;
  uint64_t source_checksum_ = 0;
  std::vector<PackedPiece> pieces_;
};

/// Writes a packed file piece by piece; it appears under its name when it is complete.
class PackedWriter {
 public:
  static core::Result<PackedWriter> create(const std::filesystem::path& path);
  core::Status add(std::string key, std::span<const std::byte> bytes);
  core::Status commit(std::string_view stamp, uint64_t source_checksum);

 private:
  struct Entry {
    std::string key;
    uint64_t offset = 0;
    uint64_t size = 0;
    uint64_t checksum = 0;
  };
  explicit PackedWriter(OutputFile out) : out_(std::move(out)) {}

  OutputFile out_;
  std::vector<Entry> entries_;
};

}  // namespace lamina::format

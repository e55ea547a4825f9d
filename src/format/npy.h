#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/result.h"
#include "format/output_file.h"

namespace lamina::format {

enum class NpyType { kFloat32, kInt32, kInt64 };

/// Writes a .npy file (version 1, C order) row by row; the number of rows is counted, not announced. The file appears
/// when finish() succeeds.
class NpyWriter {
 public:
  /// `row_shape` is the shape of one row: {} for a vector of numbers, {vocabulary} for logits, ...
  static core::Result<NpyWriter> create(const std::filesystem::path& path, NpyType type,
                                        std::span<const int64_t> row_shape);
  /// Appends whole rows. kInvalid when T is not the file's type, or the count is not whole rows.
  core::Status write_rows(std::span<const float> values);
  core::Status write_rows(std::span<const int32_t> values);
  core::Status write_rows(std::span<const int64_t> values);
  /// Rows written so far.
  int64_t rows() const { return rows_; }
  core::Status finish();

 private:
  NpyWriter(OutputFile file, NpyType type) : file_(std::move(file)), type_(type) {}
  core::Status append(NpyType type, size_t count, std::span<const std::byte> bytes);
  std::string header() const;

  OutputFile file_;
  NpyType type_;
  std::vector<int64_t> row_shape_;
  int64_t row_elements_ = 1;
  int64_t rows_ = 0;
};

/// A float32 .npy file, mapped into memory.
class NpyFile {
 public:
  /// kCorrupt, kUnsupported (another type than little-endian float32, Fortran order, zero dimensions), kNotFound, kIo.
  static core::Result<NpyFile> open(const std::filesystem::path& path);

  std::span<const int64_t> shape() const { return shape_; }
  int64_t rows() const { return shape_[0]; }
  int64_t row_elements() const { return row_elements_; }
  /// Row `index` of the outermost dimension; 0 <= index < rows().
  std::span<const float> row(int64_t index) const {
    return {values_ + index * row_elements_, static_cast<size_t>(row_elements_)};
  }

 private:
  core::MappedFile file_;
  std::vector<int64_t> shape_;
  int64_t row_elements_ = 1;
  const float* values_ = nullptr;
};

/// Writes a whole float32 array. kInvalid when `shape` does not have as many elements as there are values.
core::Status write_npy(const std::filesystem::path& path, std::span<const int64_t> shape,
                       std::span<const float> values);

}  // namespace lamina::format

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "core/result.h"

namespace lamina::core {

inline constexpr size_t kAlignment = 64;

/// Owned memory, zeroed, aligned to kAlignment; large buffers ask for huge pages.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// kLimit when the system has no such memory.
  static Result<AlignedBuffer> allocate(size_t bytes);
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~AlignedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  void swap(AlignedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// A file mapped read-only. Pages are read when touched; release() gives them back.
class MappedFile {
 public:
  MappedFile() = default;
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// When the file was last changed: nanoseconds since 1970.
  int64_t modified() const { return modified_; }
  /// Tells the system that [begin, begin + size) of the mapping is about to be read: it starts to, and this returns.
  void prefetch(const std::byte* begin, size_t size) const;
  /// Tells the system that [begin, begin + size) of the mapping is no longer needed in memory.
  void release(const std::byte* begin, size_t size) const;

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(path_, other.path_);
    std::swap(modified_, other.modified_);
  }
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
  int64_t modified_ = 0;
};

/// Resident bytes of this process now, and at their highest.
int64_t resident_bytes();
int64_t peak_resident_bytes();
/// Bytes that the system can still give (MemAvailable, or what the cgroup leaves, whichever is less).
int64_t available_bytes();

}  // namespace lamina::core

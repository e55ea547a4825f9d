#include "format/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

void OutputFile::swap(OutputFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(unnamed_, other.unnamed_);
  std::swap(position_, other.position_);
  std::swap(buffer_, other.buffer_);
}

std::unexpected<core::Error> OutputFile::io_error(std::string_view what) const {
  return fail(ErrorCode::kIo, path_.string(), "{}: {}", what, std::strerror(errno));
}

Result<OutputFile> OutputFile::create(const std::filesystem::path& path) {
  static std::atomic<uint32_t> counter{0};
  OutputFile file;
  file.path_ = path;
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return fail(ErrorCode::kIo, path.string(), "is not a regular file; the name of a file expected");
  }
  file.temporary_ = path;
  file.temporary_ += fmt::format(".{}-{}.tmp", getpid(), counter.fetch_add(1));
  // A file without a name vanishes with the process, whatever ends it. Not all file systems have such files.
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  file.descriptor_ = ::open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  file.unnamed_ = file.descriptor_ >= 0;
  if (!file.unnamed_) file.descriptor_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file.descriptor_ < 0) return file.io_error("cannot be written");
  file.buffer_.reserve(kBufferBytes);
  return file;
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!unnamed_) ::unlink(temporary_.c_str());
}

Status OutputFile::write_all(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status OutputFile::flush() {
  LAMINA_CHECK_OK(write_all(buffer_));
  buffer_.clear();
  return {};
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  position_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBufferBytes) LAMINA_CHECK_OK(flush());
  if (bytes.size() > kBufferBytes) return write_all(bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return {};
}

Status OutputFile::pad(uint64_t alignment) {
  constexpr std::byte kZeros[64] = {};
  uint64_t missing = (alignment - position_ % alignment) % alignment;
  while (missing > 0) {
    const uint64_t step = std::min<uint64_t>(missing, sizeof(kZeros));
    LAMINA_CHECK_OK(write(std::span(kZeros, static_cast<size_t>(step))));
    missing -= step;
  }
  return {};
}

Status OutputFile::overwrite(uint64_t position, std::span<const std::byte> bytes) {
  LAMINA_CHECK_OK(flush());
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(position));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("cannot be written");
    position += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status OutputFile::commit() {
  LAMINA_CHECK_OK(flush());
  if (::fsync(descriptor_) != 0) return io_error("cannot be flushed to the disk");
  if (unnamed_) {
    const std::string self = fmt::format("/proc/self/fd/{}", descriptor_);
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return io_error("cannot be given a name");
    }
    unnamed_ = false;
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return io_error("cannot be given its name");
  const int descriptor = std::exchange(descriptor_, -1);
  if (::close(descriptor) != 0) return io_error("cannot be closed");
  return {};
}

}  // namespace lamina::format

#include "core/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

namespace lamina::core {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

/// The first number of a small file such as those in /proc and /sys, or -1.
int64_t read_number(const char* path, std::string_view key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (!key.empty() && word != key) continue;
    int64_t value = -1;
    if (key.empty()) return word.empty() || word[0] < '0' || word[0] > '9' ? -1 : std::atoll(word.c_str());
    return file >> value ? value : -1;
  }
  return -1;
}

}  // namespace

Result<AlignedBuffer> AlignedBuffer::allocate(size_t bytes) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  if (bytes > std::numeric_limits<size_t>::max() / 2) {
    return fail(ErrorCode::kLimit, "memory", "{} bytes were asked for; no machine has them", bytes);
  }
  // Only whole huge pages inside a mapping become huge: it begins at one, and what lies before it is given back.
  const size_t spare = bytes >= kHugePage ? kHugePage : 0;
  void* mapped = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return fail(ErrorCode::kLimit, "memory", "{} bytes were asked for and refused: {}", bytes, std::strerror(errno));
  }
  auto* data = static_cast<std::byte*>(mapped);
  if (spare > 0) {
    const size_t before = -reinterpret_cast<uintptr_t>(data) % kHugePage;
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t used = (before + bytes + page - 1) / page * page;
    if (before > 0) munmap(data, before);
    if (used < bytes + spare) munmap(data + used, bytes + spare - used);
    data += before;
    madvise(data, bytes, MADV_HUGEPAGE);
  }
  buffer.data_ = data;
  buffer.size_ = bytes;
  return buffer;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return fail(code, path.string(), "cannot be opened: {}", std::strerror(errno));
  }
  struct stat info{};
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return fail(ErrorCode::kIo, path.string(), "is not a regular file");
  }
  MappedFile file;
  file.size_ = static_cast<size_t>(info.st_size);
  file.path_ = path;
  file.modified_ = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  if (file.size_ > 0) {
    void* data = mmap(nullptr, file.size_, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) {
      const int reason = errno;
      ::close(descriptor);
      file.size_ = 0;
      return fail(ErrorCode::kIo, path.string(), "cannot be mapped: {}", std::strerror(reason));
    }
    file.data_ = static_cast<const std::byte*>(data);
  }
  ::close(descriptor);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::prefetch(const std::byte* begin, size_t size) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(begin) / page * page;
  madvise(reinterpret_cast<void*>(first), reinterpret_cast<uintptr_t>(begin) + size - first, MADV_WILLNEED);
}

void MappedFile::release(const std::byte* begin, size_t size) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const auto last = (reinterpret_cast<uintptr_t>(begin) + size) / page * page;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

int64_t peak_resident_bytes() {
  struct rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

int64_t available_bytes() {
  const int64_t free_kib = read_number("/proc/meminfo", "MemAvailable:");
  int64_t available = free_kib < 0 ? std::numeric_limits<int64_t>::max() : free_kib * 1024;
  const int64_t limit = read_number("/sys/fs/cgroup/memory.max", "");
  const int64_t used = read_number("/sys/fs/cgroup/memory.current", "");
  if (limit >= 0 && used >= 0) available = std::min(available, std::max<int64_t>(0, limit - used));
  return available;
}

}  // namespace lamina::core

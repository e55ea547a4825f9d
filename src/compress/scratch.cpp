#include "compress/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

std::string reason(int number) {
  return std::generic_category().message(number);
}

}  // namespace

Result<std::shared_ptr<Scratch>> Scratch::open(const std::filesystem::path& folder) {
  std::string name = (folder / ".lamina-XXXXXX").string();
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) return fail(ErrorCode::kIo, folder.string(), "no file can be made in it: {}", reason(errno));
  unlink(name.c_str());
  return std::shared_ptr<Scratch>(new Scratch(file, folder));
}

Scratch::~Scratch() {
  for (const auto& [data, size] : regions_) munmap(data, size);
  if (file_ >= 0) close(file_);
}

Result<std::byte*> Scratch::take(int64_t bytes) {
  const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  const int64_t size = (std::max<int64_t>(bytes, 1) + page - 1) / page * page;
  // Without room behind it, writing to the mapping would end the process.
  if (const int failed = posix_fallocate(file_, size_, size); failed != 0)
    return fail(ErrorCode::kIo, folder_.string(), "no room for {} bytes of changed tensors: {}", size, reason(failed));
  void* data = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, file_, size_);
  if (data == MAP_FAILED)
    return fail(ErrorCode::kIo, folder_.string(), "{} bytes cannot be mapped: {}", size, reason(errno));
  size_ += size;
  regions_.emplace_back(static_cast<std::byte*>(data), static_cast<size_t>(size));
  return static_cast<std::byte*>(data);
}

}  // namespace lamina::compress

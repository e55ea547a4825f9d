#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::compress {

/// Memory that the system may move to a disk: regions of a file without a name, which is gone when this is.
class Scratch {
 public:
  /// kIo: no file can be made in that folder.
  static core::Result<std::shared_ptr<Scratch>> open(const std::filesystem::path& folder);
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();

  /// A region of zeros that lives as long as this. kIo: the disk is full.
  core::Result<std::byte*> take(int64_t bytes);

 private:
  Scratch(int file, std::filesystem::path folder) : file_(file), folder_(std::move(folder)) {}

  int file_ = -1;
  std::filesystem::path folder_;
  int64_t size_ = 0;
  std::vector<std::pair<std::byte*, size_t>> regions_;
};

}  // namespace lamina::compress

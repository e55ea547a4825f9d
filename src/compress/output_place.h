#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/result.h"
#include "format/model_files.h"

namespace lamina::compress {

/// Where a model is written: a folder beside the place it is meant for, renamed into it at the end. Without publish()
/// nothing is left.
class OutputPlace {
 public:
  /// kInvalid: `out` exists and `force` is not set, is the source or lies inside its folder, or is a folder without a
  /// model; kIo: the folder cannot be made.
  static core::Result<OutputPlace> open(const std::filesystem::path& out, const std::filesystem::path& source,
                                        bool force);
  OutputPlace(OutputPlace&& other) noexcept { swap(other); }
  OutputPlace& operator=(OutputPlace&& other) noexcept {
    swap(other);
    return *this;
  }
  ~OutputPlace();

  format::Container container() const { return container_; }
  /// An empty folder to write to.
  const std::filesystem::path& folder() const { return folder_; }
  /// A folder beside the output for what is to outlive a run that is broken off.
  std::filesystem::path unfinished() const { return out_.string() + ".unfinished"; }
  /// The name of a GGUF file in it.
  std::string file_name() const { return out_.filename().string(); }
  /// Renames what was written; returns the paths.
  core::Result<std::vector<std::string>> publish();

 private:
  OutputPlace() = default;
  void swap(OutputPlace& other) noexcept {
    std::swap(out_, other.out_);
    std::swap(folder_, other.folder_);
    std::swap(container_, other.container_);
  }

  std::filesystem::path out_;
  std::filesystem::path folder_;
  format::Container container_ = format::Container::kGguf;
};

}  // namespace lamina::compress

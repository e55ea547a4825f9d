#pragma once

#include <span>
#include <string_view>

namespace lamina::models {

/// An architecture file as it was when the binary was built.
struct ArchFile {
  std::string_view name;  ///< file name without ".json"
  std::string_view text;
};

/// All of arch/*.json, by name.
std::span<const ArchFile> arch_files();

}  // namespace lamina::models

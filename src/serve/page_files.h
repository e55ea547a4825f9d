#pragma once

#include <span>
#include <string_view>

namespace lamina::serve {

/// A file of src/serve/page/, by its name without ending.
struct PageFile {
  std::string_view name;
  std::string_view text;
};
std::span<const PageFile> page_files();

}  // namespace lamina::serve

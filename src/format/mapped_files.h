#pragma once

#include <cstdint>
#include <span>

#include "core/memory.h"
#include "core/tensor.h"

namespace lamina::format {

/// Gives back the pages of a tensor that lies in one of these files; tensors elsewhere are left alone.
inline void release_pages(std::span<const core::MappedFile> files, const core::TensorView& tensor) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.data);
  for (const core::MappedFile& file : files) {
    const auto begin = reinterpret_cast<uintptr_t>(file.bytes().data());
    if (address >= begin && address - begin < file.bytes().size()) {
      file.release(tensor.data, static_cast<size_t>(tensor.bytes()));
      return;
    }
  }
}

}  // namespace lamina::format

#pragma once

#include <cstdint>
#include <span>

#include "core/memory.h"
#include "core/tensor.h"

namespace lamina::format {

inline bool holds(const core::MappedFile& file, const core::TensorView& tensor) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.data);
  const auto begin = reinterpret_cast<uintptr_t>(file.bytes().data());
  return address >= begin && address - begin < file.bytes().size();
}

/// Gives back the pages of a tensor that lies in one of these files; tensors elsewhere are left alone.
inline void release_pages(std::span<const core::MappedFile> files, const core::TensorView& tensor) {
  for (const core::MappedFile& file : files) {
    if (holds(file, tensor)) return file.release(tensor.data, static_cast<size_t>(tensor.bytes()));
  }
}

}  // namespace lamina::format

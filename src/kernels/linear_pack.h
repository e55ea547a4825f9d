#pragma once

#include "kernels/linear_format.h"

/// How rows in file layout become panels, one function per codec, in words of 8 bytes: packing runs near the speed of
/// memory without an instruction set of its own. Inside the folder only.
namespace lamina::kernels {

/// The outputs of one panel in file layout.
struct PanelRows {
  const std::byte* data = nullptr;
  int64_t row_bytes = 0;
  int64_t count = 0;  ///< at most kPanel
  int64_t inputs = 0;
};

/// Writes the panel's bytes that belong to the given outputs; those of absent outputs must be zeros before.
using PackFunction = void (*)(const PanelFormat& format, const PanelRows& rows, std::byte* packed);

/// Every panel format has one.
PackFunction find_pack(const PanelFormat& format);

}  // namespace lamina::kernels

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "format/output_file.h"

namespace lamina::format {

/// Takes the next bytes of a tensor.
using PutBytes = std::function<core::Status(std::span<const std::byte>)>;
/// Produces a tensor's bytes, in order, in pieces of any size; called once, while the file is written.
using TensorSource = std::function<core::Status(const PutBytes&)>;

/// A tensor that a writer will write.
struct PendingTensor {
  std::string name;
  core::TensorView shape;  ///< format, rank and shape; its data is unused
  TensorSource source;
};

/// Checks name, rank, sizes and whole blocks. kInvalid, kind of error and tensor named.
core::Result<PendingTensor> make_pending(std::string_view name, const core::TensorView& shape, TensorSource source);
/// A source that gives the tensor's own memory, which must live until the file is written.
TensorSource borrow_data(const core::TensorView& tensor);
/// Writes the tensor's bytes; kInvalid when the source does not give exactly as many as the shape says.
core::Status write_pending(OutputFile& file, const PendingTensor& tensor);
/// Cuts the list into runs of at most `max_bytes` (a larger tensor gets a run of its own; 0: one run); returns where
/// each run ends.
std::vector<size_t> split_by_bytes(std::span<const PendingTensor> tensors, int64_t max_bytes);

}  // namespace lamina::format

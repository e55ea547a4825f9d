#include "format/tensor_source.h"

#include <utility>

#include "format/checked.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

Result<PendingTensor> make_pending(std::string_view name, const core::TensorView& shape, TensorSource source) {
  if (name.empty() || name.size() > 65535 || !is_clean_utf8(name, false)) {
    return fail(ErrorCode::kInvalid, "tensor " + excerpt(name), "a name of 1 to 65535 bytes of plain text expected");
  }
  if (shape.format == nullptr || shape.rank < 1 || shape.rank > core::kMaxRank) {
    return fail(ErrorCode::kInvalid, name, "a format and 1 to {} dimensions expected", core::kMaxRank);
  }
  int64_t elements = 1;
  for (size_t i = 0; i < static_cast<size_t>(shape.rank); ++i) {
    const auto product = checked_multiply(elements, shape.shape[i]);
    if (!product || *product == 0) return fail(ErrorCode::kInvalid, name, "dimension {} is {}", i, shape.shape[i]);
    elements = *product;
  }
  if (shape.columns() % shape.format->block_elements != 0 ||
      !checked_multiply(elements / shape.format->block_elements, shape.format->block_bytes)) {
    return fail(ErrorCode::kInvalid, name, "rows of {} elements cannot be stored as {}, whose blocks have {}",
                shape.columns(), shape.format->name, shape.format->block_elements);
  }
  return PendingTensor{std::string(name), shape, std::move(source)};
}

TensorSource borrow_data(const core::TensorView& tensor) {
  return [tensor](const PutBytes& put) { return put({tensor.data, static_cast<size_t>(tensor.bytes())}); };
}

Status write_pending(OutputFile& file, const PendingTensor& tensor) {
  const auto wanted = static_cast<uint64_t>(tensor.shape.bytes());
  const uint64_t start = file.position();
  const auto too_many = [&](size_t more) { return more > wanted - (file.position() - start); };
  LAMINA_CHECK_OK(tensor.source([&](std::span<const std::byte> bytes) -> Status {
    if (too_many(bytes.size())) {
      return fail(ErrorCode::kInvalid, tensor.name, "its source gives more than the {} bytes of its shape", wanted);
    }
    return file.write(bytes);
  }));
  if (file.position() - start != wanted) {
    return fail(ErrorCode::kInvalid, tensor.name, "its source gives {} bytes; its shape has {}",
                file.position() - start, wanted);
  }
  return {};
}

std::vector<size_t> split_by_bytes(std::span<const PendingTensor> tensors, int64_t max_bytes) {
  std::vector<size_t> ends;
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t more = tensors[i].shape.bytes();
    if (bytes > 0 && max_bytes > 0 && bytes + more > max_bytes) {
      ends.push_back(i);
      bytes = 0;
    }
    bytes += more;
  }
  ends.push_back(tensors.size());
  return ends;
}

}  // namespace lamina::format
